"""Orders and servers that need attention."""

from datetime import timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from delivery.models import DeliveredCode, Delivery
from fulfillment.models import Fulfillment
from merchants.models import Merchant
from orders.kinds import SOURCES
from orders.models import Order, OrderQuerySet, OtherItem
from outbound.models import Upstream

# How long a paid customer may wait before a person should look.
LONG_OUTAGE = timedelta(hours=1)


def stuck_fulfillments() -> QuerySet[Fulfillment]:
    """Items of paid orders that failed or have waited longer than LONG_OUTAGE."""
    long_waiting = Q(
        status__in=[Fulfillment.Status.WAITING, Fulfillment.Status.PENDING], created_at__lt=Now() - LONG_OUTAGE
    )
    return Fulfillment.objects.filter(
        Q(status=Fulfillment.Status.FAILED) | long_waiting, order__status=Order.Status.PAID
    )


def lost_deliveries() -> QuerySet[Delivery]:
    """E-mails of paid orders that didn't reach the customer and carry a code that no later e-mail carries.

    They failed, bounced, were marked as spam, are late, or were canceled while delivery wasn't allowed although it is
    now. Orders whose customer data was erased are excluded: they have no address to send to.
    """
    status = Delivery.Status
    late = Q(status=status.QUEUED, created_at__lt=Now() - LONG_OUTAGE)
    held_back = Q(status=status.CANCELED, order__checkout_page__delivery_allowed=True)
    later = DeliveredCode.objects.filter(code=OuterRef("code"), delivery_id__gt=OuterRef("delivery_id"))
    orphaned = DeliveredCode.objects.filter(
        ~Exists(later.exclude(delivery__status=status.CANCELED)), delivery=OuterRef("pk"), code__withdrawn_at=None
    )
    lost = Q(status__in=[status.FAILED, *Delivery.RETURNED, status.COMPLAINED])
    return Delivery.objects.filter(
        lost | late | held_back, ~Q(order__email=""), Exists(orphaned), order__status=Order.Status.PAID
    )


def mappable_items() -> QuerySet[OtherItem]:
    """Items of paid orders that were not ours when reported but match a product now."""
    return OtherItem.objects.filter(order__status=Order.Status.PAID).mappable()


def troubled_upstreams(merchant: Merchant) -> list[Upstream]:
    """The merchant's servers that are paused, are failing or have failed items."""
    return [upstream for kind in SOURCES.values() for upstream in kind.troubled(merchant)]


def needing_attention(orders: OrderQuerySet, merchant: Merchant | None = None) -> OrderQuerySet:
    """Narrow orders down to those that need attention. With `merchant`, all of them must belong to it."""
    first, *others = (rows.values_list("order") for rows in _rows_needing_attention(merchant))
    return orders.filter(pk__in=first.union(*others))


def first_needing_attention(
    most: int, merchant: Merchant | None = None, *, before: int | None = None, after: int | None = None
) -> list[int]:
    """The IDs of the newest orders that need attention, before or after one, by walking over indexes.

    `after` an order, they are the oldest ones.
    """
    reasons = []
    for rows in _rows_needing_attention(merchant):
        if before is not None:
            rows = rows.filter(order__lt=before)
        if after is not None:
            rows = rows.filter(order__gt=after)
        in_turn = rows.order_by("-order" if after is None else "order")
        reasons.append(in_turn.values_list("order", flat=True).distinct()[:most])
    first, *others = reasons
    return sorted(first.union(*others), reverse=after is None)[:most]


def count_needing_attention(merchant: Merchant, most: int) -> int:
    """Count the merchant's orders that need attention, but only up to `most`.

    Every page shows the number, so this reads only as many rows as that takes: usually those of one reason.
    """
    first, *others = (rows.values_list("order") for rows in _rows_needing_attention(merchant))
    enough = 2 * most  # an order can have several
    rows = list(first.union(*others, all=True)[:enough])
    found = len(set(rows))
    if found < most and len(rows) == enough:
        return len(first_needing_attention(most, merchant))
    return min(found, most)


def _rows_needing_attention(merchant: Merchant | None) -> list[QuerySet[Any]]:
    """One query for each reason; each row has an `order`."""
    stuck, lost, unsold = stuck_fulfillments(), lost_deliveries(), mappable_items()
    if merchant:
        stuck, unsold = stuck.filter(order__merchant=merchant), unsold.filter(order__merchant=merchant)
        lost = lost.filter(merchant=merchant)
    return [stuck, lost, unsold]
