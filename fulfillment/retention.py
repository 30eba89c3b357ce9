"""Additional parameters of orders are kept for a limited time: then they are purged, and sent empty."""

import logging
from datetime import timedelta
from time import monotonic

from django.conf import settings
from django.db import transaction
from django.db.models import Max, OuterRef, Subquery
from django.db.models.functions import Coalesce, Now

from orders.models import Order, OrderQuerySet, Refund
from outbound.models import OutgoingRequest

logger = logging.getLogger(__name__)

PURGE_BATCH_SIZE = 500
# For one run, since the sweep waits for it; the rest is left to the next run.
PURGE_TIMEOUT = 5


def purge() -> int:
    """Purge what is due, in small batches, and return of how many orders."""
    total, started = 0, monotonic()
    while _note_ends():
        pass
    while monotonic() - started < PURGE_TIMEOUT:
        count = _purge_batch(_paid_long_ago()) or _purge_batch(_ended_long_ago())
        if not count:
            break
        logger.info("The additional parameters of %d orders were purged.", count)
        total += count
    return total


def _paid_long_ago() -> OrderQuerySet:
    before = Now() - timedelta(days=settings.ADDITIONAL_PARAMETERS_KEPT_PAID)
    paid = Order.objects.filter(status=Order.Status.PAID).exclude(additional_parameters={})
    return paid.filter(paid_at__lt=before).order_by("paid_at")


def _ended() -> OrderQuerySet:
    ended = Order.objects.filter(status__in=[Order.Status.DELETED, Order.Status.TERMINATED])
    return ended.exclude(additional_parameters={})


def _ended_long_ago() -> OrderQuerySet:
    before = Now() - timedelta(days=settings.ADDITIONAL_PARAMETERS_KEPT_ENDED)
    return _ended().filter(ended_at__lt=before).order_by("ended_at")


def _note_ends() -> int:
    """Have the time run from the last refund, or from now, for some orders whose end nobody noted."""
    unknown = _ended().filter(ended_at=None).values_list("pk", flat=True)[:PURGE_BATCH_SIZE]
    last = Refund.objects.filter(order=OuterRef("pk")).values("order").annotate(last=Max("refunded_at"))
    ended_at = Coalesce(Subquery(last.values("last")), Now())
    return Order.objects.filter(pk__in=list(unknown)).update(ended_at=ended_at)


@transaction.atomic
def _purge_batch(due: OrderQuerySet) -> int:
    # Nobody waits for another's lock: what is locked just now is the next batch's.
    locked = due.select_for_update(no_key=True, skip_locked=True)
    pks = list(locked.values_list("pk", flat=True)[:PURGE_BATCH_SIZE])
    OutgoingRequest.objects.of_orders(pks).forget()
    return Order.objects.filter(pk__in=pks).update(additional_parameters={})
