"""An order's history in chronological order, built from the rows its events left."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, Exists, Max, OuterRef, Prefetch, Q, Subquery, prefetch_related_objects
from django.db.models.functions import Coalesce, JSONObject
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from delivery.models import DeliveredCode, Delivery, TrackingEvent
from fulfillment.models import DealtWith, Fulfillment, HeldCode
from orders.kinds import SOURCES
from orders.localization import show_money
from orders.models import ActivationCode, Order, OrderEvent, OrderItem, Refund
from pools.models import LicenseKey
from work.stored_texts import show_stored

FAILED = Fulfillment.Status.FAILED
# Only the first tracking event of each kind: customers open an e-mail repeatedly, and scanners do so often.
TRACKING = ArraySubquery(
    TrackingEvent.objects.filter(delivery=OuterRef("pk"))
    .order_by("kind", "occurred_at")
    .distinct("kind")
    .values(event=JSONObject(kind="kind", reason="reason", occurred_at="occurred_at"))
)
# Whether a person could issue a key from reserve.
HAS_RESERVE = Exists(
    LicenseKey.objects.reserved().filter(
        pool__fulfillment_methods__product=OuterRef("product"), pool__merchant=OuterRef("order__merchant")
    )
)
HAS_HELD_CODES = Exists(HeldCode.objects.filter(item=OuterRef("pk")))
# How many of an item's codes an e-mail to the customer's present address has carried.
ARRIVED = DeliveredCode.objects.filter(
    code=OuterRef("pk"),
    delivery__status__in=Delivery.SUCCESSFUL,
    delivery__recipient=OuterRef("item__order__email"),
)
MAILED = ActivationCode.objects.filter(Exists(ARRIVED), item=OuterRef("pk")).order_by().values("item")
MAILED_COUNT = Coalesce(Subquery(MAILED.annotate(count=Count("pk")).values("count")), 0)
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
    email: int = 0  # the primary key of the e-mail that was sent, if it can be shown (delivery/recomposition.py)


def order_history(order: Order) -> list[HistoryLine]:
    """Return the order's history, oldest first. Prefetches its items and HISTORY and makes one more query."""
    item_paths = [path for kind in SOURCES.values() for path in kind.item_paths]
    items = OrderItem.objects.select_related("product", "fulfillment", "subscription", *item_paths).with_code_count()
    items = items.annotate(has_reserve=HAS_RESERVE, has_held_codes=HAS_HELD_CODES, mailed_count=MAILED_COUNT)
    items = items.order_by("pk")
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
        yield HistoryLine(order.paid_at, "paid", gettext("Paid in the shop"))
    yield HistoryLine(order.reported_at, "reported", gettext("Payment reported"), actor=order.reported_by)


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
        text = gettext("{codes} for {product} saved, {origin}").format(
            codes=_codes(count), product=names[item], origin=SOURCES[origin].origin
        )
        yield HistoryLine(at, "codes", text, actor=actor)
    for (item, at), count in seen.items():
        text = gettext("{codes} for {product} seen by the customer").format(codes=_codes(count), product=names[item])
        yield HistoryLine(at, "seen", text)


def _failed(fulfillment: Fulfillment) -> HistoryLine:
    text = gettext("No activation code for {name}").format(name=fulfillment.item.product.name)
    at = fulfillment.ended_at or fulfillment.created_at
    return HistoryLine(at, "codes", text, note=fulfillment.reason, state=fulfillment.status)


# By the status of the delivery. The other statuses mean that it was sent.
E_MAILED = {
    Delivery.Status.SENT: _("{codes} e-mailed to {recipient}"),
    Delivery.Status.QUEUED: _("{codes} being e-mailed to {recipient}"),
    Delivery.Status.FAILED: _("{codes} couldn’t be e-mailed to {recipient}"),
    Delivery.Status.CANCELED: _("{codes} not e-mailed to {recipient}"),
}
RESENT = {
    Delivery.Status.SENT: _("{codes} resent to {recipient}"),
    Delivery.Status.QUEUED: _("{codes} being resent to {recipient}"),
    Delivery.Status.FAILED: _("{codes} couldn’t be resent to {recipient}"),
    Delivery.Status.CANCELED: _("{codes} not resent to {recipient}"),
}


def _mailed(delivery) -> Iterator[HistoryLine]:
    """Yield one line for the e-mail, then one for each event its mail provider reported."""
    codes = _codes(delivery.code_count)
    if delivery.code_count == 1 and delivery.hint:
        codes = gettext("Code ••••{hint}").format(hint=delivery.hint)
    recipient = delivery.recipient or gettext("the customer")  # the address was erased
    texts = RESENT if delivery.kind == Delivery.Kind.RESEND else E_MAILED
    text = str(texts.get(delivery.status, texts[Delivery.Status.SENT])).format(codes=codes, recipient=recipient)
    at = delivery.sent_at or delivery.ended_at or delivery.created_at
    shown = {"actor": delivery.requested_by, "email": delivery.pk if delivery.sent_at and delivery.recipient else 0}
    if delivery.tracking and delivery.status in TrackingEvent.STATUSES.values():
        # The tracking events have lines of their own.
        yield HistoryLine(at, "mail", text, state=Delivery.Status.SENT, **shown)
    else:
        yield HistoryLine(at, "mail", text, note=delivery.reason, state=delivery.status, **shown)
    events = sorted(delivery.tracking, key=itemgetter("occurred_at"))
    yield from (_tracked(event, recipient, at) for event in events)


def _tracked(event: dict[str, str], recipient: str, sent_at: datetime) -> HistoryLine:
    kind = TrackingEvent.Kind(event["kind"])
    text = {
        kind.DEFERRED: gettext("Deferred by the mail server of {recipient}").format(recipient=recipient),
        kind.DELIVERED: gettext("Delivered to {recipient}").format(recipient=recipient),
        kind.OPENED: gettext("Opened"),
        kind.CLICKED: gettext("A link was clicked"),
        kind.BOUNCED: gettext("Bounced"),
        kind.REJECTED: gettext("Rejected by the mail provider"),
        kind.COMPLAINED: gettext("Marked as spam"),
    }[kind]
    if event["reason"]:
        text += f": {show_stored(event['reason'])}"
    # The provider's clock may be behind ours, but nothing happens to an e-mail before it is sent.
    at = max(datetime.fromisoformat(event["occurred_at"]), sent_at)
    state = TrackingEvent.STATUSES.get(kind, kind)
    return HistoryLine(at, state, text, state=state)


def _refunded(refund: Refund, order: Order) -> HistoryLine:
    notes = (
        [gettext("Shop’s refund number: {reference}").format(reference=refund.reference)] if refund.reference else []
    )
    notes += [gettext("undone")] if refund.undone_at else []
    text = gettext("{amount} refunded").format(amount=show_money(refund.amount, order.currency))
    return HistoryLine(refund.refunded_at, "refund", text, actor=refund.refunded_by, note=", ".join(notes))


def _event(event: OrderEvent) -> HistoryLine:
    note = ""
    match event.kind:
        case OrderEvent.Kind.ADDRESS_CORRECTED:
            text = gettext("Address corrected")
            if event.details:  # empty once the customer's data is erased
                text = gettext("Address corrected from {before} to {after}").format(**event.details)
        case OrderEvent.Kind.CODE_REVEALED:
            text = gettext("Code shown")
            if event.code:
                text = gettext("Code ••••{hint} shown").format(hint=event.code.hint)
        case OrderEvent.Kind.RETRIED:
            text = gettext("Retried")
            if event.item:
                text = gettext("{product} retried").format(product=event.item.product.name)
            if event.details.get("reason"):
                note = gettext("Was {status}: {reason}").format(
                    status=gettext(event.details["status"]), reason=show_stored(event.details["reason"])
                )
        case OrderEvent.Kind.CODE_REFUSED | OrderEvent.Kind.CODE_RELEASED:
            text = gettext("Held code {unit} for {product} rejected")
            if event.kind == OrderEvent.Kind.CODE_RELEASED:
                text = gettext("Held code {unit} for {product} released")
            product = event.item.product.name if event.item else gettext("a deleted item")
            text = text.format(unit=event.details["unit"], product=product)
        case OrderEvent.Kind.LINK_REVOKED:
            text = gettext("Customer’s order link revoked")
        case OrderEvent.Kind.LINK_RENEWED:
            text = gettext("Customer’s order link renewed")
        case OrderEvent.Kind.REPLACED:
            text = gettext("Code replaced")
            if event.code and event.code.replaced_by:
                text = gettext("Code ••••{old} replaced by ••••{new}").format(
                    old=event.code.hint, new=event.code.replaced_by.hint
                )
            note = event.details.get("reason", "")
        case OrderEvent.Kind.RETURNED:
            hint = event.code.hint if event.code else ""
            text = gettext("Code ••••{hint} returned to stock unseen").format(hint=hint)
        case OrderEvent.Kind.REINSTATED:
            text = gettext("Full refund undone")
        case OrderEvent.Kind.APPROVED:
            text = gettext("Order approved")
        case OrderEvent.Kind.MAPPED:
            items = event.details["items"]
            text = ngettext("Item {items} mapped to a product", "Items {items} mapped to products", len(items)).format(
                items=", ".join(items)
            )
        case OrderEvent.Kind.MAY_HAVE_ARRIVED:
            text = gettext("An e-mail may have arrived: the mail server disconnected after receiving all of it")
            note = gettext("It will be sent again after ten minutes.")
        case OrderEvent.Kind.DEALT_WITH:
            text = gettext("Marked as dealt with")
            note = str(DealtWith.Trouble(event.details["trouble"]).label)
        case OrderEvent.Kind.ERASED:
            text = gettext("Customer data erased")
    return HistoryLine(event.happened_at, event.kind, text, actor=event.happened_by, note=note)


def _codes(count: int) -> str:
    return ngettext("{count} activation code", "{count} activation codes", count).format(count=count)
