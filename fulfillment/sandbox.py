"""Deletes test data: everything of a sandbox when a member asks for it, and test orders after a while.

The ledger of test pools stays: it names keys, not what they were.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from delivery.models import LinkRequest
from merchants.models import Merchant
from notices.models import MerchantNotice
from orders.models import ActivationCode, Order, Refund, RefusedReport
from outbound.models import OutgoingRequest
from pools.models import KeyImport, LicenseKey
from pools.sandbox import delete_test_keys, reset_test_pools
from webhooks.models import WebhookMessage
from work.models import IMPORTS, database_now, publish

BATCH_SIZE = 200
# Seconds per run of the periodic task, because the next tasks wait for it. The next run continues.
PURGE_TIMEOUT = 5


def delete_test_data(sandbox: Merchant, *, timeout: float) -> bool:
    """Delete a sandbox's orders with everything about them, test keys, messages, requests and notices, in batches.

    Orders that are reported meanwhile stay. Keeps webhook endpoints and API keys. Return whether all is deleted; a
    worker continues after `timeout` seconds.
    """
    is_done = _delete(_batches(sandbox, database_now()), timeout)
    if is_done:
        reset_test_pools(sandbox)
    else:
        publish("fulfillment.tasks.delete_test_data", sandbox.pk, queue=IMPORTS)
    return is_done


def purge() -> None:
    """Delete old test orders, and notices about test data."""
    old = Now() - timedelta(days=settings.TEST_DATA_RETENTION)
    # One merchant at a time: the index of its orders has the time, so real orders aren't read.
    sandboxes = Merchant.objects.filter(live__isnull=False)
    orders = [Order.objects.filter(merchant=sandbox, reported_at__lt=old) for sandbox in sandboxes]
    notices = MerchantNotice.objects.filter(merchant__live__isnull=False, created_at__lt=old)
    _delete([*(partial(_delete_orders, each) for each in orders), partial(_delete_rows, notices)], PURGE_TIMEOUT)


def _batches(sandbox: Merchant, before: datetime) -> list[Callable[[], int]]:
    orders = sandbox.orders.filter(reported_at__lte=before)
    keys = LicenseKey.objects.filter(pool__merchant=sandbox, item=None)
    others: list[QuerySet[Any]] = [
        sandbox.subscriptions.filter(order_items=None),
        KeyImport.objects.filter(pool__merchant=sandbox).exclude(status__in=KeyImport.OPEN),
        WebhookMessage.objects.filter(endpoint__merchant=sandbox, created_at__lte=before),
        MerchantNotice.objects.filter(merchant=sandbox, created_at__lte=before),
        OutgoingRequest.objects.filter(merchant=sandbox, called_at__lte=before),
        RefusedReport.objects.filter(merchant=sandbox, last_at__lte=before),
        LinkRequest.objects.filter(merchant=sandbox, created_at__lte=before),
    ]
    return [
        partial(_delete_orders, orders),
        partial(delete_test_keys, keys),
        *(partial(_delete_rows, rows) for rows in others),
    ]


def _delete(batches: list[Callable[[], int]], timeout: float) -> bool:
    """Call each function until it finds nothing more. Return False if the time is over before."""
    deadline = monotonic() + timeout
    for delete_batch in batches:
        while delete_batch():
            if monotonic() > deadline:
                return False
    return True


def _delete_rows(rows: QuerySet[Any]) -> int:
    count, _ = rows.model._default_manager.filter(pk__in=list(rows.values_list("pk", flat=True)[:BATCH_SIZE])).delete()
    return count


@transaction.atomic
def _delete_orders(orders: QuerySet[Order]) -> int:
    """Delete a batch of these test orders. Return their number."""
    # Serializes with saving codes, refunds and resends. Skips orders that a worker holds, which a later batch deletes.
    locked = orders.filter(merchant__live__isnull=False).select_for_update(of=("self",), skip_locked=True)
    # In the order of an index, so that a batch reads no more orders than it deletes.
    pks = list(locked.order_by("reported_at", "pk").values_list("pk", flat=True)[:BATCH_SIZE])
    delete_test_keys(LicenseKey.objects.filter(item__order__in=pks), at_most=None)
    codes = ActivationCode.all_codes.filter(item__order__in=pks)
    codes.update(replaced_by=None)  # would protect the codes
    codes.delete()
    Refund.objects.filter(order__in=pks).delete()
    Order.objects.filter(pk__in=pks).delete()
    return len(pks)
