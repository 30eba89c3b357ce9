from celery import shared_task

from shops import processing
from shops.models import Event
from work.models import publish
from work.tasks import requeue_misplaced, work_off

SWEEP_LIMIT = 500


@shared_task(bind=True)
def process(task, pk):
    if not requeue_misplaced(task, Event, pk):
        work_off(task, Event.objects.filter(fetches=False).due(), processing.process, pk)


@shared_task
def sweep():
    """Queue due events, including what the broker or a dying process lost."""
    for event in Event.objects.due().order_by("due_at")[:SWEEP_LIMIT]:
        publish(Event.TASK, event.pk, queue=event.queue)
