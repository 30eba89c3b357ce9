import logging
import socket
from collections.abc import Callable
from functools import wraps

from celery import shared_task
from django.db import DatabaseError, connection

from runtime import auditing
from runtime.models import Heartbeat

logger = logging.getLogger(__name__)

BEAT = "beat"


@shared_task
def record_beat():
    Heartbeat.record(BEAT, socket.gethostname())
    Heartbeat.objects.forget_old()


def for_worker(task: Callable[[str, str], None]) -> Callable[[str, str], None]:
    """For a task that a worker calls itself: it must neither stop the worker nor leave a connection open."""

    @wraps(task)
    def careful(queues: str, node: str) -> None:
        try:
            task(queues, node)
        except DatabaseError as error:
            logger.warning("The heartbeat of %s can’t be recorded: %s", node, type(error).__name__)
        finally:
            connection.close()

    return careful


@shared_task
@for_worker
def record_worker(queues, node):
    Heartbeat.record(queues, node)


@shared_task
@for_worker
def forget_worker(queues, node):
    """The worker ends as planned, so nobody has to look for it."""
    Heartbeat.objects.filter(service=queues, node=node).delete()


@shared_task
def begin_audit():
    auditing.begin()


# Reads every key and order. A second worker that gets the message meanwhile finds the lock taken.
@shared_task(time_limit=4 * 3600)
def work_on_audit(pk):
    auditing.work_on(pk)
