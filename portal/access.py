"""Access control of the portal's views, by member and merchant."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, Model, OuterRef, Q, QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache

from merchants.models import Member, Merchant
from orders.models import Order
from pools.models import KeyBatch, KeyImport, LicenseKey, LicensePool
from webhooks.models import WebhookEndpoint
from work.refusals import Refused

Role = Member.Role


SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}

# Merchants have live and test rows of these. Everything else is shared (merchants/sandbox.py).
# The name of the field in which forms post the merchant whose page they are on (templatetags/forms.py).
SHOWN_MERCHANT = "_merchant"
WITH_TEST_DATA = {Order, LicensePool, KeyBatch, KeyImport, LicenseKey, WebhookEndpoint}


def member_required(role: Member.Role = Role.SUPPORT, *, has_test_data: bool = False) -> Callable:
    """Allow members with this role or a higher one, and set `request.member` and `request.merchant`.

    Others get a 403, or the sign-in page. If the merchant requires a second factor, members have to set one up first.
    If the page `has_test_data`, its merchant is the sandbox while the member looks at test data.
    """

    def decorate(view):
        @wraps(view)
        @login_required
        def for_members(request, *args, **kwargs):
            get_member(request)
            if request.member is None:
                raise PermissionDenied(gettext("You aren’t a member of any merchant."))
            check_shown_merchant(request)
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
            if has_test_data:
                request.merchant = request.shown_merchant
            return view(request, *args, **kwargs)

        return for_members

    return decorate


def scoped(
    rows: type[Model] | QuerySet, role: Member.Role = Role.MANAGER, *, merchant: str = "merchant", **lookups: str
) -> Callable:
    """Like `member_required`, and pass one of the merchant's rows to the view. Rows of other merchants are a 404.

    `lookups` maps fields to URL arguments. If the view raises Refused, the reason is shown on the row's page.
    """
    has_test_data = (rows.model if isinstance(rows, QuerySet) else rows) in WITH_TEST_DATA

    def decorate(view):
        @wraps(view)
        @never_cache
        @member_required(role, has_test_data=has_test_data)
        def with_row(request, **kwargs):
            wanted = {field: kwargs.pop(argument) for field, argument in (lookups or {"pk": "pk"}).items()}
            if has_test_data:
                row = get_own(request, rows, Q(**wanted), merchant=merchant)
            else:
                row = get_object_or_404(rows, **wanted, **{merchant: request.merchant.pk})
            if merchant == "merchant":
                row.merchant = request.merchant
            try:
                return view(request, row, **kwargs)
            except Refused as error:
                messages.error(request, str(error))
                return redirect(row)

        return with_row

    return decorate


def get_own(
    request, rows: type[Model] | QuerySet, wanted: Q, *, merchant: str = "merchant", is_unique: bool = True
) -> Any:
    """Return one of the merchant's rows: of the kind of data that is shown or, if there is none, of the other.

    The other is shown from then on, so a link leads to its test order even if the member was looking at live data.
    But a test order and a real one can have the same number. An action never takes one for the other, such as when
    the page of a test order is still open that was deleted.
    """
    queryset = rows if isinstance(rows, QuerySet) else rows._default_manager.all()
    kinds = sorted(kinds_of_data(request.member.merchant), key=lambda kind: kind != request.merchant)
    if not is_unique and request.method not in SAFE_METHODS:
        kinds = [request.merchant]
    for kind in kinds:
        if row := queryset.filter(wanted, **{merchant: kind}).first():
            show_data(request, kind)
            return row
    raise Http404


def kinds_of_data(merchant: Merchant) -> list[Merchant]:
    """The merchant, for its live data, and its sandbox, if it has one."""
    return [merchant, *filter(None, [getattr(merchant, "sandbox", None)])]


def show_data(request, merchant: Merchant) -> None:
    """Show the data of the member's merchant or of its sandbox from now on."""
    if merchant != request.shown_merchant:
        request.session["merchant"] = merchant.slug
    request.merchant = request.shown_merchant = merchant


def lacks_second_factor(user) -> bool:
    """Return whether this member of support staff still has to set up a second factor."""
    return settings.STAFF_SECOND_FACTOR_REQUIRED and not is_mfa_enabled(user)


def read_memberships(user_pk: int) -> list[Member]:
    """Return a user's memberships, with the user and the merchants."""
    memberships = Member.objects.filter(user=user_pk).select_related("user", "merchant__sandbox")
    second_factors = Authenticator.objects.filter(user=OuterRef("user"))
    return list(memberships.annotate(has_second_factor=Exists(second_factors)).order_by("merchant__name", "pk"))


def get_member(request) -> Member | None:
    """Return the user's active membership, and set `request.shown_merchant` to its merchant or that one's sandbox.

    `?merchant=` switches between them by their slugs.
    """
    if not hasattr(request, "member"):
        known = getattr(request.user, "known_memberships", None)  # of MemberBackend
        request.memberships = read_memberships(request.user.pk) if known is None else known
        named = {
            merchant.slug: (member, merchant)
            for member in request.memberships
            for merchant in kinds_of_data(member.merchant)
        }
        if request.GET.get("merchant") in named.keys() - {request.session.get("merchant")}:
            request.session["merchant"] = request.GET["merchant"]
        first = next(iter(named.values()), (None, None))
        request.member, request.shown_merchant = named.get(request.session.get("merchant"), first)
    return request.member


def check_shown_merchant(request: Any) -> None:
    """Refuse a form of another merchant's page, or of the other kind of data, after switching in another window."""
    named = request.POST.get(SHOWN_MERCHANT) if request.method == "POST" else None
    shown = request.shown_merchant
    if named is not None and named != shown.slug:
        text = gettext("You switched to {merchant} in another window, so nothing was changed. Open the page again.")
        raise PermissionDenied(text.format(merchant=shown))


def merchant_query(request) -> dict[str, str]:
    """Parameters for links to orders: their numbers are unique only per merchant, and apart from test orders."""
    is_ambiguous = sum(len(kinds_of_data(member.merchant)) for member in request.memberships) > 1
    return {"merchant": request.shown_merchant.slug} if is_ambiguous else {}
