"""Access control of the portal's views, by member and merchant."""

from collections.abc import Callable
from functools import wraps

from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, Model, OuterRef, QuerySet
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache

from fulfillment.attention import count_needing_attention
from merchants.models import Member
from orders.kinds import SOURCES
from work.refusals import Refused

Role = Member.Role


def member_required(role: Member.Role = Role.SUPPORT) -> Callable:
    """Allow members with this role or a higher one, and set `request.member` and `request.merchant`.

    Others get a 403, or the sign-in page. If the merchant requires a second factor, members have to set one up first.
    """

    def decorate(view):
        @wraps(view)
        @login_required
        def for_members(request, *args, **kwargs):
            get_member(request)
            if request.member is None:
                raise PermissionDenied(gettext("You aren’t a member of any merchant."))
            request.merchant = request.member.merchant
            if request.merchant.second_factor_required and not request.member.has_second_factor:
                messages.info(
                    request,
                    gettext("{merchant} requires two-factor authentication. Please set it up.").format(
                        merchant=request.merchant
                    ),
                )
                return redirect("mfa_index")
            if not request.member.may(role):
                text = gettext("Only owners and managers at {merchant} can do this.")
                if role == Role.OWNER:
                    text = gettext("Only owners at {merchant} can do this.")
                raise PermissionDenied(text.format(merchant=request.merchant))
            return view(request, *args, **kwargs)

        return for_members

    return decorate


def scoped(
    rows: type[Model] | QuerySet, role: Member.Role = Role.MANAGER, *, merchant: str = "merchant", **lookups: str
) -> Callable:
    """Like `member_required`, and pass one of the merchant's rows to the view. Rows of other merchants are a 404.

    `lookups` maps fields to URL arguments. If the view raises Refused, the reason is shown on the row's page.
    """

    def decorate(view):
        @wraps(view)
        @never_cache
        @member_required(role)
        def with_row(request, **kwargs):
            wanted = {field: kwargs.pop(argument) for field, argument in (lookups or {"pk": "pk"}).items()}
            row = get_object_or_404(rows, **wanted, **{merchant: request.merchant})
            if merchant == "merchant":
                row.merchant = request.merchant
            try:
                return view(request, row, **kwargs)
            except Refused as error:
                messages.error(request, str(error))
                return redirect(row)

        return with_row

    return decorate


def lacks_second_factor(user) -> bool:
    """Return whether this member of support staff still has to set up a second factor."""
    return settings.STAFF_SECOND_FACTOR_REQUIRED and not is_mfa_enabled(user)


def get_member(request) -> Member | None:
    """Return the user's active membership. With several, `?merchant=` switches between them."""
    if not hasattr(request, "member"):
        memberships = request.user.memberships.select_related("merchant").order_by("merchant__name", "pk")
        second_factors = Authenticator.objects.filter(user=OuterRef("user"))
        request.memberships = list(memberships.annotate(has_second_factor=Exists(second_factors)))
        named = {member.merchant.slug: member for member in request.memberships}
        if request.GET.get("merchant") in named.keys() - {request.session.get("merchant")}:
            request.session["merchant"] = request.GET["merchant"]
        first = next(iter(request.memberships), None)
        request.member = named.get(request.session.get("merchant"), first)
    return request.member


def navigation(request) -> dict:
    """Template context of every page: the member and their navigation."""
    # Pages of the REST framework and requests refused by a middleware have no user.
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated or request.path.startswith(reverse("admin:index")):
        return {}
    member = get_member(request)
    if member is None:
        return {}
    return {
        "member": member,
        "memberships": request.memberships,
        "source_pages": [kind.pages for kind in SOURCES.values() if kind.pages],
        # Added to order links, because order numbers are unique per merchant only.
        "merchant_query": f"?merchant={member.merchant.slug}" if len(request.memberships) > 1 else "",
        "attention_count": SimpleLazyObject(lambda: count_needing_attention(member.merchant, most=100)),
    }
