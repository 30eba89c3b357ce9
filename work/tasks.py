"""Shared by tasks. Each checks its row and does nothing if there is nothing to do."""

from collections.abc import Callable
from time import monotonic

from celery import Task
from celery.signals import task_prerun
from django.db import close_old_connections, connection

from work.models import DEFAULT, Retryable, RetryableQuerySet, begin_task, publish

# Seconds after which a worker that still finds due rows lets other tasks in the queue go first.
SLICE = 5
BATCH_SIZE = 20


@task_prerun.connect
def note_begin(task, args, **_):
    # Celery keeps connections open. This replaces one that PostgreSQL has closed.
    close_old_connections()
    connection.distrust()  # type: ignore[attr-defined]
    if args:
        begin_task(task.name, args[0])


def work_off(task: Task, due: RetryableQuerySet, attempt: Callable[[int], None], pk: int) -> None:
    """Attempt due rows, retries first, until there are none or the slice is over.

    This finds rows that weren't queued because the queue was long. On other queues, attempt only this row: a
    merchant's mail server may be slow.
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
    return str((task.request.delivery_info or {}).get("routing_key", DEFAULT))


def requeue_misplaced(task: Task, model: type[Retryable], pk: int) -> bool:
    """Requeue a row that no longer belongs on the default queue, as when its merchant has added a mail server.

    Return whether it was requeued. Other queues accept any row.
    """
    if get_queue(task) != DEFAULT:
        return False
    row = model.objects.filter(pk=pk).first()
    if row is None or row.queue == DEFAULT:
        return False
    publish(task.name, pk, queue=row.queue)
    return True
