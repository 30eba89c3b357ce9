"""Tasks. Each checks its row and does nothing if there is nothing to do. Losing one costs only seconds."""

import logging

from celery import shared_task
from django.core.management import call_command
from django.db import transaction
from django.db.models import Q

from delivery import tracking
from delivery.link_requests import delete_old_requests
from delivery.models import Delivery, LinkRequest
from fulfillment import attention, engine, pool_notices, retention, sandbox, upstream_notices
from fulfillment.models import Fulfillment
from merchants.models import Merchant
from notices import sending as notices
from notices.api_keys import warn_of_expiry
from notices.models import MerchantNotice
from orders.kinds import SOURCES
from orders.refusals import purge_refusals
from outbound import outgoing_requests
from pools import uploads
from pools.imports import delete_staged_keys
from pools.ledger import fold_changes
from pools.models import KeyImport, LicensePool
from pools.replenishment import warn_low_pools
from webhooks import sending as webhooks
from webhooks.models import WebhookMessage
from work.incidents import purge_incidents
from work.models import IMPORTS, publish
from work.tasks import requeue_misplaced

logger = logging.getLogger(__name__)

SWEEP_LIMIT = 500


@shared_task(bind=True)
def fulfill(task, pk):
    if not requeue_misplaced(task, Fulfillment, pk):
        engine.fulfill_in_turn(pk)


# Many items may wait. The limit is below the broker's visibility timeout, and the sweep resumes with the rest.
@shared_task(time_limit=240)
def serve_pool(pk):
    engine.serve_waiting(LicensePool.objects.get(pk=pk))


# Has its own worker, because a million keys take a while and e-mails must not wait. It may exceed the broker's
# visibility timeout: a second worker that gets the message then finds the row locked.
@shared_task(time_limit=1800)
def work_on_import(pk):
    uploads.work_on(pk)


@shared_task
def purge_parameters():
    call_command("clearsessions")
    retention.purge()
    sandbox.purge()


@shared_task(time_limit=240)
def delete_test_data(pk):
    sandbox.delete_test_data(Merchant.objects.get(pk=pk, live__isnull=False), timeout=180)


@shared_task
def sweep():
    """Queue due work, including what the broker or a dying process lost."""
    for part in (
        nudge_due,
        nudge_endpoints,
        nudge_waiting_pools,
        nudge_imports,
        warn_low_pools,
        fold_changes,
        pool_notices.remind_of_empty_pools,
        upstream_notices.notify_long_outages,
        tracking.match_late_events,
        purge_logs,
        delete_old_requests,
        uploads.discard_old_imports,
        delete_staged_keys,
        warn_of_expiry,
    ):
        try:
            part()
        except Exception:
            # One failing part must not stop the others.
            logger.exception("Sweep failed in %s", part.__name__)


def nudge_due():
    Delivery.objects.nudge_due()
    for rows in (
        MerchantNotice.objects.all(),
        LinkRequest.objects.all(),
        *(work for kind in SOURCES.values() for work in kind.work()),
    ):
        for row in rows.due().order_by("due_at")[:SWEEP_LIMIT]:
            row.nudge()
    # Each finished attempt queues the server's next item, so a few per server are enough.
    in_turn = Fulfillment.objects.due_in_turn(outgoing_requests.MAX_PER_HOST).select_related("item__product")
    for fulfillment in in_turn[:SWEEP_LIMIT]:
        fulfillment.nudge()


def nudge_endpoints():
    # One message per endpoint: its worker sends the others.
    for message in WebhookMessage.objects.due().order_by("endpoint", "due_at").distinct("endpoint"):
        message.nudge()


def nudge_waiting_pools():
    wanted = Fulfillment.objects.waiting().values("item__product__fulfillment_methods__poolmethod__pool")
    for_tests = {"live__in": wanted.exclude(order__merchant__live=None)}
    for pool in LicensePool.objects.filter(Q(pk__in=wanted.filter(order__merchant__live=None)) | Q(**for_tests)):
        if pool.available_up_to(1):
            publish("fulfillment.tasks.serve_pool", pool.pk)


def nudge_imports():
    with transaction.atomic():
        # A worker on an import holds its row lock.
        idle = KeyImport.objects.filter(status__in=[KeyImport.Status.READING, KeyImport.Status.IMPORTING])
        pks = list(idle.select_for_update(skip_locked=True).values_list("pk", flat=True))
    # After the transaction, so that the workers don't find the rows locked by it.
    for pk in pks:
        publish("fulfillment.tasks.work_on_import", pk, queue=IMPORTS)


def purge_logs():
    outgoing_requests.purge()
    webhooks.purge()
    tracking.purge()
    notices.purge()
    purge_refusals()
    attention.purge()
    purge_incidents()
