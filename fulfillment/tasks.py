"""Nudges. Each looks at its row and does nothing if there is nothing to do; losing one costs seconds."""

import logging
from collections.abc import Callable
from time import monotonic

from celery import Task, shared_task
from celery.signals import task_prerun
from django.core.management import call_command
from django.db import close_old_connections, transaction

from fulfillment import (
    callouts,
    deactivation,
    delivery,
    link_requests,
    notices,
    pool_notices,
    retention,
    services,
    tracking,
    upstream_notices,
    webhooks,
)
from fulfillment.link_requests import forget_old_requests
from fulfillment.models import (
    DEFAULT,
    IMPORTS,
    Deactivation,
    Delivery,
    Fulfillment,
    LinkRequest,
    MerchantNotice,
    Retryable,
    RetryableQuerySet,
    WebhookMessage,
    begin_task,
    publish,
)
from orders.refusals import purge_refusals
from pools import uploads
from pools.models import KeyImport, LicensePool
from pools.replenishment import warn_low_pools

logger = logging.getLogger(__name__)

SWEEP_LIMIT = 500
# Seconds after which a worker that still finds due rows of one kind lets the other tasks in the queue go first.
SLICE = 5
# Due rows that a worker reads at once.
BATCH_SIZE = 20


@task_prerun.connect
def note_begin(task, args, **_):
    # Celery keeps the connection; this replaces one that PostgreSQL has closed.
    close_old_connections()
    if args:
        begin_task(task.name, args[0])


def work_off(task: Task, due: RetryableQuerySet, attempt: Callable[[int], None], pk: int) -> None:
    """Attempt the due rows of the default queue, retries first, until there are none or the slice is over.

    So rows that nobody queued, as the queue was long, are found by any worker that is awake. Another queue's row is
    attempted alone: a merchant's mail server may be slow.
    """
    if get_queue(task) != DEFAULT:
        attempt(pk)
        return
    deadline = monotonic() + SLICE
    tried: set[int] = set()
    while pks := [pk for pk in due.in_turn().values_list("pk", flat=True)[:BATCH_SIZE] if pk not in tried]:
        for pk in pks:
            if monotonic() > deadline:
                publish(task.name, pk)
                return
            attempt(pk)
        tried.update(pks)


def get_queue(task: Task) -> str:
    """The queue that a task came from."""
    return str((task.request.delivery_info or {}).get("routing_key", DEFAULT))


def is_misplaced(task: Task, model: type[Retryable], pk: int) -> bool:
    """Whether a row is another queue's by now, as when its merchant got a mail server: then it is queued there."""
    row = model.objects.filter(pk=pk).first()
    if row is None or row.queue == get_queue(task):
        return False
    publish(task.name, pk, queue=row.queue)
    return True


@shared_task(bind=True)
def fulfill(task, pk):
    if not is_misplaced(task, Fulfillment, pk):
        services.fulfill_in_turn(pk)


@shared_task
def deactivate(pk):
    deactivation.deactivate(pk)


@shared_task(bind=True)
def deliver(task, pk):
    if not is_misplaced(task, Delivery, pk):
        work_off(task, Delivery.objects.due().filter(order__merchant__mail_account=None), delivery.deliver, pk)


@shared_task(bind=True)
def send_notice(task, pk):
    work_off(task, MerchantNotice.objects.due(), notices.send_notice, pk)


@shared_task
def send_webhook(pk):
    webhooks.send(pk)


@shared_task(bind=True)
def send_links(task, pk):
    if not is_misplaced(task, LinkRequest, pk):
        work_off(task, LinkRequest.objects.due().filter(merchant__mail_account=None), link_requests.send_links, pk)


# Many may wait; the limit is still below the broker's visibility timeout, and the sweep has the rest served.
@shared_task(time_limit=240)
def serve_pool(pk):
    services.serve_waiting(LicensePool.objects.get(pk=pk))


# By a worker of its own: a million keys take a while, and no e-mail shall wait for them. It may take longer than the
# broker waits for an answer: whoever gets the message then finds the row locked.
@shared_task(time_limit=1800)
def work_on_import(pk):
    uploads.work_on(pk)


@shared_task
def purge_parameters():
    call_command("clearsessions")
    retention.purge()


@shared_task
def sweep():
    """Find work that has come due, and whatever the broker or a dying process lost."""
    for part in (
        nudge_due,
        nudge_endpoints,
        nudge_waiting_pools,
        nudge_imports,
        warn_low_pools,
        pool_notices.remind_of_empty_pools,
        upstream_notices.tell_of_upstreams_that_are_down,
        tracking.match_late_events,
        purge_logs,
        forget_old_requests,
        uploads.forget_old_imports,
    ):
        try:
            part()
        except Exception:
            # The other parts must not wait for this one to be mended.
            logger.exception("The sweep's part %s failed", part.__name__)


def nudge_due():
    for rows in (
        Delivery.objects.select_related("order"),  # by whose merchant the queue is chosen
        Deactivation.objects.all(),
        MerchantNotice.objects.all(),
        LinkRequest.objects.all(),
    ):
        for row in rows.due().order_by("due_at")[:SWEEP_LIMIT]:
            row.nudge()
    # Who gets a code from somebody's server has the next in line ask it.
    in_turn = Fulfillment.objects.due_in_turn(callouts.AT_ONE_HOST).select_related("item__product")
    for fulfillment in in_turn[:SWEEP_LIMIT]:
        fulfillment.nudge()


def nudge_endpoints():
    # Whoever sends one message of an endpoint sends the others.
    for message in WebhookMessage.objects.due().order_by("endpoint", "due_at").distinct("endpoint"):
        message.nudge()


def nudge_waiting_pools():
    waiting = Fulfillment.objects.waiting()
    wanted = waiting.values("item__product__fulfillment_methods__poolmethod__pool")
    for pool in LicensePool.objects.filter(pk__in=wanted):
        if pool.available_up_to(1):
            publish("fulfillment.tasks.serve_pool", pool.pk)


def nudge_imports():
    with transaction.atomic():
        # Those that nobody is at: who is has the row's lock.
        idle = KeyImport.objects.filter(status__in=[KeyImport.Status.READING, KeyImport.Status.IMPORTING])
        pks = list(idle.select_for_update(skip_locked=True).values_list("pk", flat=True))
    # Only now, or the worker would find them locked by us.
    for pk in pks:
        publish("fulfillment.tasks.work_on_import", pk, queue=IMPORTS)


def purge_logs():
    callouts.purge()
    webhooks.purge()
    purge_refusals()
