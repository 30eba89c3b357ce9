"""Orders and servers that need attention."""

from datetime import timedelta
from typing import Any

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from delivery.models import DeliveredCode, Delivery
from fulfillment.models import Fulfillment
from merchants.models import Merchant
from orders.kinds import SOURCES
from orders.models import Order, OrderQuerySet, OtherItem
from outbound.models import Upstream
from work.sql import PreparedQuery

# How long a paid customer may wait before a person should look.
LONG_OUTAGE = timedelta(hours=1)
MAX_ID = 2**63 - 1


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


def held_orders() -> OrderQuerySet:
    """Paid orders that are being checked for fraud, so that somebody may have to approve or refund them."""
    return Order.objects.filter(status=Order.Status.PAID, held_until__gt=Now())


def troubled_upstreams(merchant: Merchant) -> list[Upstream]:
    """The merchant's servers that are paused, are failing or have failed items."""
    return [upstream for kind in SOURCES.values() for upstream in kind.troubled(merchant)]


def needing_attention(orders: OrderQuerySet, merchant: Merchant | None = None) -> OrderQuerySet:
    """Narrow orders down to those that need attention. With `merchant`, all of them must belong to it."""
    first, *others = (rows.values_list("order") for rows in _rows_needing_attention(merchant))
    return orders.filter(pk__in=first.union(*others))


def newest_needing_attention(most: int, merchant: Merchant | None = None, *, before: int = MAX_ID) -> list[int]:
    """The IDs of the newest orders that need attention, below the ID `before`.

    They are read in the order of an index, so the number of other orders doesn't matter.
    """
    if merchant:
        rows = read_newest(merchant=merchant.pk, most=most, before=before)
    else:
        rows = read_newest_of_all(most=most, before=before)
    return sorted({row.order for row in rows}, reverse=True)[:most]


def oldest_needing_attention(most: int, merchant: Merchant, *, after: int) -> list[int]:
    """The same for the oldest ones that are newer than an order, oldest first."""
    rows = read_oldest(merchant=merchant.pk, most=most, after=after)
    return sorted({row.order for row in rows})[:most]


@PreparedQuery
def read_newest(merchant: int, most: int, before: int) -> QuerySet[Any]:
    rows = [rows.filter(order__lt=before).order_by("-order") for rows in _rows_needing_attention(merchant)]
    return _first_orders(rows, most)


@PreparedQuery
def read_newest_of_all(most: int, before: int) -> QuerySet[Any]:
    rows = [rows.filter(order__lt=before).order_by("-order") for rows in _rows_needing_attention(None)]
    return _first_orders(rows, most)


@PreparedQuery
def read_oldest(merchant: int, most: int, after: int) -> QuerySet[Any]:
    rows = [rows.filter(order__gt=after).order_by("order") for rows in _rows_needing_attention(merchant)]
    return _first_orders(rows, most)


def _first_orders(reasons: list[QuerySet[Any]], most: int) -> QuerySet[Any]:
    first, *others = [rows.values("order").distinct()[:most] for rows in reasons]
    return first.union(*others, all=True)


def count_needing_attention(merchant: Merchant, most: int) -> int:
    """Count the merchant's orders that need attention, but only up to `most`.

    Every page shows the number, so this reads only as many rows as that takes: usually those of one reason.
    """
    first, *others = (rows.values_list("order") for rows in _rows_needing_attention(merchant))
    enough = 2 * most  # an order can have several
    rows = list(first.union(*others, all=True)[:enough])
    found = len(set(rows))
    if found < most and len(rows) == enough:
        return len(newest_needing_attention(most, merchant))
    return min(found, most)


def _rows_needing_attention(merchant: Merchant | int | None) -> list[QuerySet[Any]]:
    """One query for each reason; each row has an `order`."""
    stuck, lost, unsold = stuck_fulfillments(), lost_deliveries(), mappable_items()
    held = held_orders().annotate(order=F("pk"))
    if merchant:
        stuck, unsold = stuck.filter(order__merchant=merchant), unsold.filter(order__merchant=merchant)
        lost, held = lost.filter(merchant=merchant), held.filter(merchant=merchant)
    return [stuck, lost, unsold, held]
