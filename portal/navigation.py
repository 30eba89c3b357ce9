"""The portal's pages: its sidebar, and what the search finds among them."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.functional import Promise, SimpleLazyObject
from django.utils.translation import gettext_lazy as _

from merchants.models import Member
from orders.kinds import SOURCES
from portal.access import Role, get_member, merchant_query
from portal.attention.causes import count_needing_attention

Text = str | Promise


@dataclass(frozen=True)
class Entry:
    """A page without parameters that members with this role, or a higher one, can open."""

    title: Text
    name: str  # of its URL
    role: Role = Role.MANAGER

    @property
    def url(self) -> str:
        return reverse(self.name)


@dataclass(frozen=True)
class Group:
    title: Text
    pages: list[Entry]

    def open_to(self, member: Member) -> "Group":
        return Group(self.title, open_to(member, self.pages))


def open_to(member: Member, pages: list[Entry]) -> list[Entry]:
    return [page for page in pages if member.may(page.role)]


def read_groups() -> list[Group]:
    sources = [Entry(title, name) for title, name in (kind.pages for kind in SOURCES.values() if kind.pages)]
    return [
        Group(
            "",
            [
                Entry(_("Home"), "home"),
                Entry(_("Orders"), "orders", Role.SUPPORT),
                Entry(_("Needs attention"), "attention", Role.SUPPORT),
            ],
        ),
        Group(_("Stock"), [Entry(_("Pools"), "pools"), Entry(_("Products"), "products")]),
        Group(_("Sources"), [*sources, Entry(_("Licensing"), "licensing", Role.SUPPORT)]),
        Group(
            _("Connections"),
            [Entry(_("Shops"), "shops"), Entry(_("Webhooks"), "webhooks"), Entry(_("E-mails"), "emails")],
        ),
        Group(
            _("Settings"),
            [
                Entry(_("Team"), "team", Role.OWNER),
                Entry(_("API keys"), "api-keys", Role.OWNER),
                Entry(_("Checkout pages"), "checkout-pages", Role.OWNER),
                Entry(_("Sign-in"), "mfa_index", Role.SUPPORT),
            ],
        ),
    ]


# Pages that only other pages and the search lead to.
MORE = [
    Entry(_("Add a pool"), "pool-add"),
    Entry(_("Reconciliation of pools"), "reconciliation"),
    Entry(_("Add a product"), "product-add"),
    Entry(_("Connect a shop"), "shop-kinds"),
    Entry(_("Send a test order"), "test-order"),
    Entry(_("Set up automatic sending"), "setup"),
    Entry(_("Mail server"), "mail-server"),
    Entry(_("Sender of e-mails"), "email-sender"),
    Entry(_("Refused reports"), "refused-reports", Role.SUPPORT),
    Entry(_("Password"), "account_change_password", Role.SUPPORT),
    Entry(_("Language and time"), "language-and-time", Role.SUPPORT),
]


def navigation(request) -> dict[str, Any]:
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
        "groups": [shown for group in read_groups() if (shown := group.open_to(member)).pages],
        "shows_test_data": request.shown_merchant.is_test,
        "merchant_query": f"?{urlencode(query)}" if (query := merchant_query(request)) else "",
        "attention_count": SimpleLazyObject(lambda: count_needing_attention(request.shown_merchant, most=100)),
    }
