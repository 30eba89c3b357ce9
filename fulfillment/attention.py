"""What needs a person: orders whose customers lack something, and servers that give no codes.

Each row that needs attention is annotated alike, so that pages can group and count them:

- `trouble` and `occurred_at` identify the occurrence. Once a person dealt with it, the row no longer needs attention.
- `thing` is what people see of it, mostly the order, and `place` and `flag` narrow the cause down.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import BigIntegerField, Case, CharField, Exists, F, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Cast, Coalesce, Now
from django.utils.translation import gettext

from delivery.models import DeliveredCode, Delivery
from fulfillment.models import DealtWith, Fulfillment, HeldCode
from merchants.models import Merchant
from orders.models import Order, OrderEvent, OrderQuerySet, OtherItem
from outbound.models import Upstream
from work.refusals import Refused
from work.retention import delete_in_batches
from work.sql import PreparedQuery

Trouble = DealtWith.Trouble

# How long a paid customer may wait for what is retried automatically before a person should look.
LONG_OUTAGE = timedelta(hours=1)
# How long what needs attention is new. Older rows are listed apart and not counted.
RECENT = timedelta(days=30)
# Those that belong to no order are kept this long after a person dealt with them. Others go with their order.
DEALT_WITH_RETENTION = timedelta(days=180)
MAX_ID = 2**63 - 1

# Flags of stuck items: why they have no codes.
LOOKS_WRONG, SHORT, FAILED = "looks-wrong", "short", "failed"


def needs_attention(
    rows: QuerySet[Any],
    trouble: Any,
    *,
    occurred_at: Any,
    aged_at: Any = None,
    thing: str,
    place: Any = 0,
    flag: Any = "",
    label: Any = "",
    detail: Any = "",
    part: Any = 0,
) -> QuerySet[Any]:
    """Annotate rows for the list, and leave out those that a person dealt with.

    `aged_at` is when it began to need attention, if that isn't `occurred_at`. `detail` is the reason that people read,
    and `part` the primary key of what the row belongs to.
    """
    number, text = BigIntegerField(), CharField()
    rows = rows.annotate(
        trouble=_as(trouble, text),
        occurred_at=occurred_at,
        aged_at=occurred_at if aged_at is None else aged_at,
        thing=_as(F(thing), number),
        place=_as(place, number),
        flag=_as(flag, text),
        label=_as(label, text),
        detail=_as(detail, text),
        part=_as(part, number),
    )
    dealt_with = DealtWith.objects.filter(
        trouble=OuterRef("trouble"), subject=OuterRef("pk"), occurred_at=OuterRef("occurred_at")
    )
    return rows.filter(~Exists(dealt_with))


def _as(value: Any, field: Any) -> Any:
    return Cast(value if hasattr(value, "resolve_expression") else Value(value), field)


def is_recent() -> Q:
    return Q(aged_at__gt=Now() - RECENT)


def stuck_fulfillments() -> QuerySet[Fulfillment]:
    """Items of paid orders that aren't retried, or have been retried for longer than LONG_OUTAGE."""
    status, long_ago = Fulfillment.Status, Now() - LONG_OUTAGE
    # A person may have started a pending one again just now.
    pending = Q(status=status.PENDING, created_at__lt=long_ago, due_at__lt=long_ago)
    stuck = Fulfillment.objects.filter(
        Q(status=status.FAILED)
        | Q(status=status.WAITING, due_at=None)
        # Waiting for a server, or for the license of an earlier order.
        | Q(status=status.WAITING, created_at__lt=long_ago)
        | pending,
        Fulfillment.NOT_HELD,
        order__status=Order.Status.PAID,
    )
    looks_wrong = Exists(HeldCode.objects.filter(item=OuterRef("item")))
    is_short = Q(status=status.WAITING, due_at=None)
    return needs_attention(
        stuck,
        Trouble.ITEM,
        occurred_at=Coalesce("ended_at", "failing_since", "created_at"),
        thing="order_id",
        place=F("item__product"),
        flag=Case(When(looks_wrong, then=Value(LOOKS_WRONG)), When(is_short, Value(SHORT)), default=Value(FAILED)),
        detail=F("reason"),
        part=F("item"),
    )


def lost_deliveries() -> QuerySet[Delivery]:
    """E-mails of paid orders that didn't reach the customer and carry a code that no later e-mail carries.

    They failed, bounced, were marked as spam, or were canceled while delivery wasn't allowed although it is now.
    Orders whose customer data was erased are excluded: they have no address to send to.
    """
    status = Delivery.Status
    held_back = Q(status=status.CANCELED, order__checkout_page__delivery_allowed=True)
    lost = Q(status__in=[status.FAILED, *Delivery.RETURNED, status.COMPLAINED])
    # The last condition is redundant, but an index can use it.
    return _undelivered(lost | held_back, status__in=[status.CANCELED, status.FAILED, *LOST])


def late_deliveries() -> QuerySet[Delivery]:
    """The same for those that have been queued for longer than LONG_OUTAGE."""
    return _undelivered(Q(status=Delivery.Status.QUEUED, due_at__isnull=False, created_at__lt=Now() - LONG_OUTAGE))


LOST = [*Delivery.RETURNED, Delivery.Status.COMPLAINED]


def _undelivered(condition: Q, **conditions: Any) -> QuerySet[Delivery]:
    later = DeliveredCode.objects.filter(code=OuterRef("code"), delivery_id__gt=OuterRef("delivery_id"))
    orphaned = DeliveredCode.objects.filter(
        ~Exists(later.exclude(delivery__status=Delivery.Status.CANCELED)),
        delivery=OuterRef("pk"),
        code__withdrawn_at=None,
    )
    rows = Delivery.objects.filter(
        condition, ~Q(order__email=""), Exists(orphaned), order__status=Order.Status.PAID, **conditions
    )
    return needs_attention(rows, F("status"), occurred_at=F("created_at"), thing="order_id", detail=F("reason"))


def mappable_items() -> QuerySet[OtherItem]:
    """Items of paid orders that were not ours when reported but match a product now."""
    rows = OtherItem.objects.filter(order__status=Order.Status.PAID).mappable()
    return needs_attention(
        rows,
        Trouble.UNMAPPED,
        occurred_at=F("order__reported_at"),
        thing="order_id",
        place=F("product_id"),
        label=F("product"),
        detail=F("product"),
    )


def held_orders() -> QuerySet[Order]:
    """Paid orders that are being checked for fraud, so that somebody may have to approve or refund them."""
    rows = Order.objects.filter(status=Order.Status.PAID, held_until__gt=Now())
    return needs_attention(rows, Trouble.HELD, occurred_at=F("reported_at"), thing="pk")


def down_upstreams(merchant: int | None = None) -> list[QuerySet[Any]]:
    """The merchant's servers that give no codes, or those of all merchants, one query for each kind."""
    kinds: dict[str, Any] = Upstream.kinds()
    own = Q(merchant=merchant) if merchant else Q()
    return [
        needs_attention(
            kind.objects.order_by().filter(Upstream.DOWN, own),
            Trouble.SERVER,
            occurred_at=Coalesce("failing_since", "paused_at"),
            thing="pk",
            place=F("pk"),
            flag=name,
            label=F("name"),
        )
        for name, kind in kinds.items()
    ]


def needing_attention(orders: OrderQuerySet, merchant: Merchant | None = None) -> OrderQuerySet:
    """Narrow orders down to those that need attention. With `merchant`, all of them must belong to it."""
    first, *others = (rows.values_list("thing") for rows in order_rows(merchant))
    return orders.filter(pk__in=first.union(*others))


def newest_needing_attention(most: int, merchant: Merchant | None = None, *, before: int = MAX_ID) -> list[int]:
    """The IDs of the newest orders that need attention, below the ID `before`.

    They are read in the order of an index, so the number of other orders doesn't matter.
    """
    if merchant:
        rows = read_newest(merchant=merchant.pk, most=most, before=before)
    else:
        rows = read_newest_of_all(most=most, before=before)
    return sorted({row.found for row in rows}, reverse=True)[:most]


@PreparedQuery
def read_newest(merchant: int, most: int, before: int) -> QuerySet[Any]:
    return _newest(order_rows(merchant), most, before)


@PreparedQuery
def read_newest_of_all(most: int, before: int) -> QuerySet[Any]:
    return _newest(order_rows(None), most, before)


def _newest(reasons: list[QuerySet[Any]], most: int, before: int) -> QuerySet[Any]:
    columns = ["pk" if rows.model is Order else "order" for rows in reasons]
    first, *others = (
        rows.filter(**{f"{column}__lt": before}).order_by(f"-{column}").values(found=F(column)).distinct()[:most]
        for rows, column in zip(reasons, columns, strict=True)
    )
    return first.union(*others, all=True)


def order_rows(merchant: Merchant | int | None) -> list[QuerySet[Any]]:
    """One query for each kind of row of orders that needs attention."""
    stuck, unsold = stuck_fulfillments(), mappable_items()
    others = [lost_deliveries(), late_deliveries(), held_orders()]
    if merchant:
        stuck, unsold = stuck.filter(order__merchant=merchant), unsold.filter(order__merchant=merchant)
        others = [rows.filter(merchant=merchant) for rows in others]
    return [stuck, unsold, *others]


# A trouble, the primary key of the row that has it, when it occurred, and the row's `thing`.
Occurrence = tuple[str, int, datetime, int]


class NotSeen(Refused):
    code = "not_seen"

    def __init__(self) -> None:
        super().__init__(gettext("More has happened since you opened the page. Please look again."))


@transaction.atomic
def deal_with(merchant: Merchant, rows: Sequence[QuerySet[Any]], *, seen: str, actor: str) -> int:
    """Record that a person dealt with these rows of `needs_attention`. Return the number of `thing`s.

    `seen` is what `digest` returned when the person looked. Raises NotSeen if more has happened since then. A second
    click finds nothing and leaves no second line in an order's history.
    """
    # Serializes the second click with the first.
    Merchant.objects.select_for_update(no_key=True).get(pk=merchant.pk)
    found = read_occurrences(rows)
    if found and digest(found) != seen:
        raise NotSeen
    DealtWith.objects.bulk_create(
        (
            DealtWith(
                merchant=merchant,
                trouble=trouble,
                subject=subject,
                occurred_at=occurred_at,
                order_id=thing if trouble in OF_ORDERS else None,
                dealt_by=actor,
            )
            for trouble, subject, occurred_at, thing in found
        ),
        batch_size=1000,
    )
    lines = {(trouble, thing) for trouble, _, _, thing in found if trouble in OF_ORDERS}
    OrderEvent.objects.bulk_create(
        (
            OrderEvent(
                order_id=thing,
                kind=OrderEvent.Kind.DEALT_WITH,
                details={"trouble": str(trouble)},
                happened_by=actor,
            )
            for trouble, thing in sorted(lines)
        ),
        batch_size=1000,
    )
    return len({(trouble in OF_ORDERS, thing) for trouble, _, _, thing in found})


OF_ORDERS = {
    *(Trouble.ITEM, Trouble.UNMAPPED, Trouble.HELD),
    *(Trouble.FAILED, Trouble.BOUNCED, Trouble.REJECTED, Trouble.COMPLAINED, Trouble.CANCELED, Trouble.QUEUED),
}


def read_occurrences(rows: Iterable[QuerySet[Any]]) -> list[Occurrence]:
    return sorted(row for each in rows for row in each.order_by().values_list("trouble", "pk", "occurred_at", "thing"))


def digest(occurrences: Iterable[Occurrence]) -> str:
    """A short text that differs for other occurrences, to be sent along with a form."""
    facts = [(trouble, pk, occurred_at.timestamp()) for trouble, pk, occurred_at, _ in sorted(occurrences)]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def purge() -> None:
    """Delete old rows that belong to no order. Those of orders are deleted with the order."""
    old = DealtWith.objects.filter(order=None, dealt_at__lt=Now() - DEALT_WITH_RETENTION)
    delete_in_batches(old.order_by("dealt_at"))
