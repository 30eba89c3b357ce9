"""Who is asking, and for which merchant."""

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
from django.views.decorators.cache import never_cache

from fulfillment.attention import needing_attention
from merchants.models import Member, Merchant
from orders.kinds import SOURCES
from work.refusals import Refused

Role = Member.Role


def member_required(role: Member.Role = Role.SUPPORT) -> Callable:
    """Let in members of a merchant who have the rights of this role; the view finds `request.member` and `.merchant`.

    Others sign in first, or get a 403. Where the merchant requires a second factor, it is set up first.
    """

    def decorate(view):
        @wraps(view)
        @login_required
        def for_members(request, *args, **kwargs):
            get_member(request)
            if request.member is None:
                raise PermissionDenied("You are not a member of any merchant.")
            request.merchant = request.member.merchant
            if request.merchant.second_factor_required and not request.member.has_second_factor:
                messages.info(request, f"{request.merchant} asks its members for a second factor. Please set one up.")
                return redirect("mfa_index")
            if not request.member.may(role):
                raise PermissionDenied(f"This is for a {role.label.lower()} of {request.merchant}.")
            return view(request, *args, **kwargs)

        return for_members

    return decorate


def scoped(
    rows: type[Model] | QuerySet, role: Member.Role = Role.MANAGER, *, merchant: str = "merchant", **lookups: str
) -> Callable:
    """Let in members who have the rights of this role, with one of their merchant's rows; another's is a 404.

    `lookups` are fields with the arguments of the address that they are looked up by. A refusal is shown on the row's
    page.
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
    """Whether a member of support staff still has to set one up."""
    return settings.STAFF_SECOND_FACTOR_REQUIRED and not is_mfa_enabled(user)


def get_member(request) -> Member | None:
    """The membership in whose name the user works: of several, the one that `?merchant=` last named."""
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
    """Context of every page: in whose name somebody is signed in."""
    # There is none in pages of the REST framework, nor where a middleware refused the request.
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
        # Added to what leads to an order, whose number may be another one's at another merchant.
        "merchant_query": f"?merchant={member.merchant.slug}" if len(request.memberships) > 1 else "",
        "attention_count": SimpleLazyObject(lambda: count_attention(member.merchant)),
    }


def count_attention(merchant: Merchant) -> str:
    """How many orders need a person, in few characters; none is empty."""
    count = needing_attention(merchant.orders.all(), merchant)[:100].count()
    return "99+" if count > 99 else str(count or "")
