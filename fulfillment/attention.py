"""What a person has to look at."""

from datetime import timedelta

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from delivery.models import DeliveredCode, Delivery
from fulfillment.models import Fulfillment
from merchants.models import Merchant
from orders.kinds import SOURCES
from orders.models import Order, OrderQuerySet, OtherItem
from outbound.models import Upstream

# A customer has paid, and waits for longer than this.
LONG_OUTAGE = timedelta(hours=1)


def stuck_fulfillments() -> QuerySet[Fulfillment]:
    """Items of paid orders that failed, or lack codes for long."""
    long_waiting = Q(
        status__in=[Fulfillment.Status.WAITING, Fulfillment.Status.PENDING], created_at__lt=Now() - LONG_OUTAGE
    )
    return Fulfillment.objects.filter(
        Q(status=Fulfillment.Status.FAILED) | long_waiting, item__order__status=Order.Status.PAID
    )


def lost_deliveries() -> QuerySet[Delivery]:
    """E-mails of paid orders that did not reach the customer, with a code that no later one holds.

    They failed, came back or were marked as spam, or are late, or were canceled while delivery was not allowed, which
    now it is. Of a customer whose data was erased none is lost: there is nobody to send it to.
    """
    status = Delivery.Status
    late = Q(status=status.QUEUED, created_at__lt=Now() - LONG_OUTAGE)
    held_back = Q(status=status.CANCELED, order__checkout_page__delivery_allowed=True)
    later = DeliveredCode.objects.filter(code=OuterRef("code"), delivery_id__gt=OuterRef("delivery_id"))
    orphaned = DeliveredCode.objects.filter(
        ~Exists(later.exclude(delivery__status=status.CANCELED)), delivery=OuterRef("pk"), code__withdrawn_at=None
    )
    lost = Q(status__in=[status.FAILED, *Delivery.RETURNED, status.COMPLAINED])
    return Delivery.objects.exclude(status__in=Delivery.SUCCESSFUL).filter(
        lost | late | held_back, ~Q(order__email=""), Exists(orphaned), order__status=Order.Status.PAID
    )


def mappable_items() -> QuerySet[OtherItem]:
    """Items of paid orders that were not ours when they were reported, and have a product now."""
    return OtherItem.objects.filter(order__status=Order.Status.PAID).mappable()


def troubled_upstreams(merchant: Merchant) -> list[Upstream]:
    """The merchant's servers that are paused or fail, or because of which items failed."""
    return [upstream for kind in SOURCES.values() for upstream in kind.troubled(merchant)]


def needing_attention(orders: OrderQuerySet, merchant: Merchant | None = None) -> OrderQuerySet:
    """Those of the orders, which are this merchant's if one is given, that a person has to look at."""
    stuck, lost, unsold = stuck_fulfillments(), lost_deliveries(), mappable_items()
    if merchant:
        stuck, lost = stuck.filter(item__order__merchant=merchant), lost.filter(order__merchant=merchant)
        unsold = unsold.filter(order__merchant=merchant)
    found = stuck.values_list("item__order").union(lost.values_list("order"), unsold.values_list("order"))
    return orders.filter(pk__in=found)
