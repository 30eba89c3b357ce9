"""What fixes all orders of a cause at once."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from django.db.models import Q
from django.utils.functional import Promise
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from delivery.resending import ResendRefused, resend
from fulfillment import holds
from fulfillment.actions import retry_all
from fulfillment.attention import Trouble
from merchants.models import Merchant
from orders.models import ActivationCode, Order, OrderItem
from orders.placing import map_items
from portal.attention.causes import AttentionCause, find_rows_of

# Orders that one click approves, maps or sends again, because the person waits for it.
MAX_ORDERS = 200


@dataclass(frozen=True)
class BulkFix:
    """A question, and what its answer does. `act` returns the number of orders or items that it changed."""

    ask: Callable[[int], str]  # the title for a number of orders
    text: str | Promise
    button: str | Promise
    act: Callable[[AttentionCause, Merchant, bool, str], int]
    done: Callable[[int], str]


def retry_cause(cause: AttentionCause, merchant: Merchant, older: bool, actor: str) -> int:
    return retry_all(merchant, find_rows_of(cause, merchant, Trouble.ITEM, older=older), actor=actor)


def find_orders(cause: AttentionCause, merchant: Merchant, older: bool) -> list[Order]:
    rows = find_rows_of(cause, merchant, cause.trouble, older=older).order_by("thing")
    pks = list(dict.fromkeys(rows.values_list("thing", flat=True)))[:MAX_ORDERS]
    return list(merchant.orders.filter(pk__in=pks).select_related("merchant", "checkout_page").order_by("pk"))


def approve_cause(cause: AttentionCause, merchant: Merchant, older: bool, actor: str) -> int:
    count = 0
    for order in find_orders(cause, merchant, older):
        with suppress(holds.NotHeld):  # another person decided first
            holds.approve(order, actor=actor)
            count += 1
    return count


def map_cause(cause: AttentionCause, merchant: Merchant, older: bool, actor: str) -> int:
    return sum(map_items(order, actor=actor) > 0 for order in find_orders(cause, merchant, older))


def resend_cause(cause: AttentionCause, merchant: Merchant, older: bool, actor: str) -> int:
    rows = find_rows_of(cause, merchant, cause.trouble, older=older).order_by("pk").values("pk")[:MAX_ORDERS]
    lost = ActivationCode.objects.filter(deliveries__in=list(rows.values_list("pk", flat=True)))
    count = 0
    for item in OrderItem.objects.filter(Q(pk__in=lost.values("item"))).order_by("pk"):
        with suppress(ResendRefused):
            _delivery, is_new = resend(item, actor=actor)
            count += is_new
    return count


RETRY = BulkFix(
    ask=lambda count: ngettext("Retry {count:,} order?", "Retry all {count:,} orders?", count),
    text=_("We ask for their missing codes again and e-mail what we get. No code is issued twice."),
    button=_("Retry all"),
    act=retry_cause,
    done=lambda count: ngettext("Trying {count:,} item again.", "Trying {count:,} items again.", count),
)
APPROVE = BulkFix(
    ask=lambda count: ngettext("Approve {count:,} order?", "Approve all {count:,} orders?", count),
    text=_("They get their activation codes immediately, and we e-mail them to the customers."),
    button=_("Approve all"),
    act=approve_cause,
    done=lambda count: ngettext("Approved {count:,} order.", "Approved {count:,} orders.", count),
)
MAP = BulkFix(
    ask=lambda count: ngettext("Map {count:,} order?", "Map all {count:,} orders?", count),
    text=_("Items that weren’t yours when they were sold get their codes now, and we e-mail them to the customers."),
    button=_("Map all"),
    act=map_cause,
    done=lambda count: ngettext("Mapped {count:,} order.", "Mapped {count:,} orders.", count),
)
RESEND = BulkFix(
    ask=lambda count: ngettext("Resend to {count:,} customer?", "Resend to all {count:,} customers?", count),
    text=_("We send their activation codes again, to the address in each order."),
    button=_("Resend all"),
    act=resend_cause,
    done=lambda count: ngettext("{count:,} e-mail is on its way.", "{count:,} e-mails are on their way.", count),
)
FIXES: dict[str, BulkFix] = {
    Trouble.ITEM: RETRY,
    Trouble.HELD: APPROVE,
    Trouble.UNMAPPED: MAP,
    Trouble.FAILED: RESEND,
    Trouble.CANCELED: RESEND,
}


def find_fix(cause: AttentionCause) -> BulkFix | None:
    return FIXES.get(cause.trouble) if cause.fix and cause.fix.is_question else None


def limit_text(count: int) -> str:
    """What a question adds if it is about more orders than one click changes."""
    if count <= MAX_ORDERS:
        return ""
    return gettext("This takes the first {limit}; repeat it for the others.").format(limit=MAX_ORDERS)
