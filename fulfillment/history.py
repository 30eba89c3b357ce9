"""An order's history in chronological order, built from the rows its events left."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, Exists, Max, OuterRef, Prefetch, Q, prefetch_related_objects
from django.db.models.functions import Coalesce, JSONObject

from delivery.models import Delivery, TrackingEvent
from fulfillment.models import Fulfillment, HeldCode
from orders.kinds import SOURCES
from orders.models import ActivationCode, Order, OrderEvent, OrderItem, Refund
from pools.models import LicenseKey

FAILED = Fulfillment.Status.FAILED
# Only the first tracking event of each kind: customers open an e-mail repeatedly, and scanners do so often.
TRACKING = ArraySubquery(
    TrackingEvent.objects.filter(delivery=OuterRef("pk"))
    .order_by("kind", "occurred_at")
    .distinct("kind")
    .values(event=JSONObject(kind="kind", reason="reason", occurred_at="occurred_at"))
)
# Whether a person could issue a key from reserve.
HAS_RESERVE = Exists(LicenseKey.objects.reserved().filter(pool__fulfillment_methods__product=OuterRef("product")))
HAS_HELD_CODES = Exists(HeldCode.objects.filter(item=OuterRef("pk")))
# An e-mail's codes, except those replaced before it was sent.
CARRIED = (
    Q(codes__withdrawn_at=None)
    | Q(codes__withdrawn_at__gt=Coalesce("sent_at", "ended_at"))
    | Q(status=Delivery.Status.CANCELED)  # the codes it would have carried
)
HISTORY = [
    Prefetch(
        "deliveries",
        Delivery.objects.annotate(
            code_count=Count("codes", filter=CARRIED), hint=Max("codes__hint", filter=CARRIED), tracking=TRACKING
        ).order_by("pk"),
    ),
    Prefetch("refunds", Refund.objects.order_by("pk")),
    Prefetch(
        "events",
        OrderEvent.objects.select_related("code__replaced_by", "item__product")
        .defer("code__code", "code__replaced_by__code")
        .order_by("pk"),
    ),
]


@dataclass(frozen=True)
class HistoryLine:
    at: datetime
    kind: str
    text: str
    actor: str = ""
    note: str = ""
    state: str = ""  # its status, if it can succeed or fail


def order_history(order: Order) -> list[HistoryLine]:
    """Return the order's history, oldest first. Prefetches its items and HISTORY and makes one more query."""
    item_paths = [path for kind in SOURCES.values() for path in kind.item_paths]
    items = OrderItem.objects.select_related("product", "fulfillment", "subscription", *item_paths).with_code_count()
    items = items.annotate(has_reserve=HAS_RESERVE, has_held_codes=HAS_HELD_CODES).order_by("pk")
    prefetch_related_objects([order], Prefetch("items", items), *HISTORY)
    lines = [
        *_reported(order),
        *_saved_and_seen(order),
        *(_failed(item.fulfillment) for item in order.items.all() if item.fulfillment.status == FAILED),
        *(line for item in order.items.all() for kind in SOURCES.values() for line in kind.history(item)),
        *(line for delivery in order.deliveries.all() for line in _mailed(delivery)),
        *(_refunded(refund, order) for refund in order.refunds.all()),
        *map(_event, order.events.all()),
    ]
    return sorted(lines, key=lambda line: line.at)


def _reported(order: Order) -> Iterator[HistoryLine]:
    if order.paid_at:
        yield HistoryLine(order.paid_at, "paid", "Paid in the shop")
    yield HistoryLine(order.reported_at, "reported", "Payment reported", actor=order.reported_by)


def _saved_and_seen(order: Order) -> Iterator[HistoryLine]:
    names = {item.pk: item.product.name for item in order.items.all()}
    saved: Counter = Counter()
    seen: Counter = Counter()
    groups = (
        ActivationCode.all_codes.filter(item__order=order)
        .values_list("item", "source", "saved_by", "saved_at", "seen_at")
        .annotate(count=Count("pk"))
        .order_by()
    )
    for item, origin, actor, saved_at, seen_at, count in groups:
        saved[item, origin, actor, saved_at] += count
        if seen_at:
            seen[item, seen_at] += count

    for (item, origin, actor, at), count in saved.items():
        yield HistoryLine(
            at, "codes", f"{_codes(count)} for {names[item]} saved, {SOURCES[origin].origin}", actor=actor
        )
    for (item, at), count in seen.items():
        yield HistoryLine(at, "seen", f"{_codes(count)} for {names[item]} seen by the customer")


def _failed(fulfillment: Fulfillment) -> HistoryLine:
    text = f"No activation code for {fulfillment.item.product.name}"
    at = fulfillment.ended_at or fulfillment.created_at
    return HistoryLine(at, "codes", text, note=fulfillment.reason, state=fulfillment.status)


def _mailed(delivery) -> Iterator[HistoryLine]:
    """Yield one line for the e-mail, then one for each event its mail provider reported."""
    codes = f"Code ••••{delivery.hint}" if delivery.code_count == 1 and delivery.hint else _codes(delivery.code_count)
    verb = "resent to" if delivery.kind == Delivery.Kind.RESEND else "e-mailed to"
    not_sent = {
        Delivery.Status.QUEUED: "being " + verb,
        Delivery.Status.FAILED: "couldn’t be " + verb,
        Delivery.Status.CANCELED: "not " + verb,
    }
    recipient = delivery.recipient or "the customer"  # the address was erased
    text = f"{codes} {not_sent.get(delivery.status, verb)} {recipient}"
    at = delivery.sent_at or delivery.ended_at or delivery.created_at
    if delivery.status in TrackingEvent.STATUSES.values():
        # The tracking events have lines of their own.
        yield HistoryLine(at, "mail", text, actor=delivery.requested_by, state=Delivery.Status.SENT)
    else:
        yield HistoryLine(at, "mail", text, actor=delivery.requested_by, note=delivery.reason, state=delivery.status)
    events = sorted(delivery.tracking, key=itemgetter("occurred_at"))
    yield from (_tracked(event, recipient, at) for event in events)


def _tracked(event: dict[str, str], recipient: str, sent_at: datetime) -> HistoryLine:
    kind = TrackingEvent.Kind(event["kind"])
    text = {
        kind.DEFERRED: f"Deferred by the mail server of {recipient}",
        kind.DELIVERED: f"Delivered to {recipient}",
        kind.OPENED: "Opened",
        kind.CLICKED: "A link was clicked",
        kind.BOUNCED: "Bounced",
        kind.REJECTED: "Rejected by the mail provider",
        kind.COMPLAINED: "Marked as spam",
    }[kind]
    if event["reason"]:
        text += f": {event['reason']}"
    # The provider's clock may be behind ours, but nothing happens to an e-mail before it is sent.
    at = max(datetime.fromisoformat(event["occurred_at"]), sent_at)
    state = TrackingEvent.STATUSES.get(kind, kind)
    return HistoryLine(at, state, text, state=state)


def _refunded(refund: Refund, order: Order) -> HistoryLine:
    notes = [f"Shop’s refund number: {refund.reference}"] if refund.reference else []
    notes += ["undone"] if refund.undone_at else []
    note = ", ".join(notes)
    return HistoryLine(
        refund.refunded_at, "refund", f"{refund.amount} {order.currency} refunded", actor=refund.refunded_by, note=note
    )


def _event(event: OrderEvent) -> HistoryLine:
    note = ""
    match event.kind:
        case OrderEvent.Kind.ADDRESS_CORRECTED:
            text = "Address corrected"
            if event.details:  # empty once the customer's data is erased
                text += f" from {event.details['before']} to {event.details['after']}"
        case OrderEvent.Kind.CODE_REVEALED:
            text = f"Code ••••{event.code.hint} shown" if event.code else "Code shown"
        case OrderEvent.Kind.RETRIED:
            text = f"{event.item.product.name} retried" if event.item else "Retried"
            note = f"Was {event.details['status']}: {event.details['reason']}" if event.details.get("reason") else ""
        case OrderEvent.Kind.CODE_REFUSED | OrderEvent.Kind.CODE_RELEASED:
            product = f" for {event.item.product.name}" if event.item else ""
            verb = "released" if event.kind == OrderEvent.Kind.CODE_RELEASED else "rejected"
            text = f"Held code {event.details['unit']}{product} {verb}"
        case OrderEvent.Kind.LINK_REVOKED:
            text = "Customer’s order link revoked"
        case OrderEvent.Kind.LINK_RENEWED:
            text = "Customer’s order link renewed"
        case OrderEvent.Kind.REPLACED:
            text = "Code replaced"
            if event.code and event.code.replaced_by:
                text = f"Code ••••{event.code.hint} replaced by ••••{event.code.replaced_by.hint}"
            note = event.details.get("reason", "")
        case OrderEvent.Kind.RETURNED:
            text = f"Code ••••{event.code.hint if event.code else ''} returned to stock unseen"
        case OrderEvent.Kind.REINSTATED:
            text = "Full refund undone"
        case OrderEvent.Kind.MAPPED:
            text = f"Mapped to products: item {', '.join(event.details['items'])}"
        case OrderEvent.Kind.MAY_HAVE_ARRIVED:
            text = "An e-mail may have arrived: the mail server disconnected after receiving all of it"
            note = "It is sent again after ten minutes."
        case OrderEvent.Kind.ERASED:
            text = "Customer data erased"
    return HistoryLine(event.happened_at, event.kind, text, actor=event.happened_by, note=note)


def _codes(count: int) -> str:
    return f"{count} activation code{'' if count == 1 else 's'}"
