from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic

from celery import shared_task

from delivery import link_requests, sending
from delivery.models import LinkRequest
from delivery.models.deliveries import ALL, nudge
from work.locks import advisory_lock
from work.tasks import SLICE, requeue_misplaced, work_off

# Connections to one merchant's mail server.
MAX_CONNECTIONS = 4


@shared_task
def deliver(merchant):
    """Send the due e-mails of a merchant with its own mail server, or of ALL others (delivery.models.deliveries)."""
    with _connection_of(merchant) as free:
        if free and sending.deliver_due(monotonic() + SLICE, merchant):
            nudge(merchant)


@contextmanager
def _connection_of(merchant: int) -> Iterator[bool]:
    """Yield whether another connection may be opened, so that a slow server can't occupy all workers.

    Otherwise the workers that have one also send what is due now.
    """
    numbers = range(merchant * MAX_CONNECTIONS, (merchant + 1) * MAX_CONNECTIONS)
    with ExitStack() as locks:
        yield merchant == ALL or any(locks.enter_context(advisory_lock("mail server", each)) for each in numbers)


@shared_task(bind=True)
def send_links(task, pk):
    if not requeue_misplaced(task, LinkRequest, pk):
        work_off(task, LinkRequest.objects.due().filter(merchant__mail_account=None), link_requests.send_links, pk)
