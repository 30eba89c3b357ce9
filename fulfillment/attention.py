"""What a person has to look at."""

from datetime import timedelta

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from fulfillment.models import Delivery, Fulfillment
from merchants.models import Merchant
from orders.models import Order, OrderQuerySet

# A customer has paid, and waits for longer than this.
LONG = timedelta(hours=1)


def stuck_fulfillments() -> QuerySet[Fulfillment]:
    """Items of paid orders that failed, or lack codes for long."""
    long_waiting = Q(status__in=[Fulfillment.Status.WAITING, Fulfillment.Status.PENDING], created_at__lt=Now() - LONG)
    return Fulfillment.objects.filter(
        Q(status=Fulfillment.Status.FAILED) | long_waiting, item__order__status=Order.Status.PAID
    )


def lost_deliveries() -> QuerySet[Delivery]:
    """E-mails of paid orders that failed or are late, and were not followed by another."""
    later = Delivery.objects.filter(order=OuterRef("order"), pk__gt=OuterRef("pk")).exclude(
        status=Delivery.Status.CANCELED
    )
    late = Q(status=Delivery.Status.QUEUED, created_at__lt=Now() - LONG)
    return Delivery.objects.filter(
        Q(status=Delivery.Status.FAILED) | late, ~Exists(later), order__status=Order.Status.PAID
    )


def needing_attention(orders: OrderQuerySet, merchant: Merchant | None = None) -> OrderQuerySet:
    """Those of the orders, which are this merchant's if one is given, that a person has to look at."""
    stuck, lost = stuck_fulfillments(), lost_deliveries()
    if merchant:
        stuck, lost = stuck.filter(item__order__merchant=merchant), lost.filter(order__merchant=merchant)
    return orders.filter(pk__in=stuck.values_list("item__order").union(lost.values_list("order")))
