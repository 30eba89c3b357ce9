"""Purge orders' additional parameters after their retention period. From then on they are sent empty."""

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
# Seconds per run, because the sweep waits for it. The next run continues.
PURGE_TIMEOUT = 5


def purge() -> int:
    """Purge due parameters in small batches. Return the number of orders."""
    total, started = 0, monotonic()
    while _note_ends():
        pass
    while monotonic() - started < PURGE_TIMEOUT:
        count = _purge_batch(_paid_long_ago()) or _purge_batch(_ended_long_ago())
        if not count:
            break
        logger.info("Purged the additional parameters of %d orders.", count)
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
    """Set `ended_at` to the last refund, or else to now, for a batch of ended orders without it."""
    unknown = _ended().filter(ended_at=None).values_list("pk", flat=True)[:PURGE_BATCH_SIZE]
    last = Refund.objects.filter(order=OuterRef("pk")).values("order").annotate(last=Max("refunded_at"))
    ended_at = Coalesce(Subquery(last.values("last")), Now())
    return Order.objects.filter(pk__in=list(unknown)).update(ended_at=ended_at)


@transaction.atomic
def _purge_batch(due: OrderQuerySet) -> int:
    # Skips locked orders, which a later batch purges.
    locked = due.select_for_update(no_key=True, skip_locked=True)
    pks = list(locked.values_list("pk", flat=True)[:PURGE_BATCH_SIZE])
    OutgoingRequest.objects.for_orders(pks).forget()
    return Order.objects.filter(pk__in=pks).update(additional_parameters={})
