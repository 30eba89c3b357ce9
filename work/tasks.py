"""What nudges have in common. Each looks at its row and does nothing if there is nothing to do."""

from collections.abc import Callable
from time import monotonic

from celery import Task
from celery.signals import task_prerun
from django.db import close_old_connections

from work.models import DEFAULT, Retryable, RetryableQuerySet, begin_task, publish

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
    """Whether a row of the default queue must go to another one by now, as when its merchant got a mail server.

    Then it is queued there. On the other queues any row may take its time.
    """
    if get_queue(task) != DEFAULT:
        return False
    row = model.objects.filter(pk=pk).first()
    if row is None or row.queue == DEFAULT:
        return False
    publish(task.name, pk, queue=row.queue)
    return True
