import logging

from celery import shared_task
from django.db.models import Q
from django.db.models.functions import Now

from shops import catching_up, notices, processing, writing_back
from shops.models import RETENTION, CatchUp, Connection, Event, WriteBack
from work.retention import delete_in_batches
from work.tasks import requeue_misplaced, work_off

logger = logging.getLogger(__name__)

SWEEP_LIMIT = 500


@shared_task(bind=True)
def process(task, pk):
    if not requeue_misplaced(task, Event, pk):
        work_off(task, Event.objects.filter(fetches=False).due(), processing.process, pk)


@shared_task
def catch_up(pk):
    catching_up.catch_up(pk)


@shared_task
def write_back(pk):
    writing_back.write_back(pk)


@shared_task
def sweep():
    """Queue due work, including what the broker or a dying process lost."""
    for part in (nudge_due, processing.wake_forgotten, catching_up.request_daily, notices.notify_of_trouble, purge):
        try:
            part()
        except Exception:
            # One failing part must not stop the others.
            logger.exception("Sweep failed in %s", part.__name__)


def nudge_due():
    for model in (Event, CatchUp, WriteBack):
        for row in model.objects.due().order_by("due_at")[:SWEEP_LIMIT]:
            row._publish()


def purge():
    """Delete old events, and the rows of removed connections."""
    old = Q(created_at__lt=Now() - RETENTION)
    delete_in_batches(Event.objects.filter(old).order_by("created_at"))
    delete_in_batches(CatchUp.objects.filter(old, due_at=None).order_by("pk"))
    removed = Connection.objects.filter(removed_at__lt=Now() - RETENTION)
    delete_in_batches(Event.objects.filter(connection__in=removed).order_by("pk"))
