"""Rows that are work, tried until it is done."""

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from zlib import crc32

from celery import current_app
from django.db import connection, models, transaction
from django.db.models import Case, F, Q, When
from django.db.models.functions import Now
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from work.valkey import valkey

logger = logging.getLogger(__name__)

# How long a worker has for one attempt. Longer than CELERY_TASK_TIME_LIMIT, or two would be at it.
LEASE = timedelta(seconds=60)


# Seconds for which a queued row is not queued again, unless a worker has begun to look at it.
QUEUED_TTL = 30
# Tasks in a queue beyond which no more are added: the workers and the sweep find the rows by themselves.
MAX_QUEUE_LENGTH = 1000


# Each queue has a worker of its own (run.py).
DEFAULT = "celery"
CALLOUTS = "callouts"  # for what waits for other people's servers
IMPORTS = "imports"  # for what takes long


def publish(task: str, pk: int, *, queue: str = DEFAULT) -> None:
    """Ask a worker of a queue to look at a row, unless the row is queued already or the queue is long.

    The task is only a hint. If it gets lost, or the broker is down, the sweep asks again.
    """
    try:
        # This also finds out within half a second whether the broker is down; Celery would retry for longer.
        with valkey().pipeline(transaction=False) as pipeline:
            pipeline.set(_queued(task, pk), 1, nx=True, ex=QUEUED_TTL)
            pipeline.llen(queue)
            is_new, length = pipeline.execute()
        if is_new and length < MAX_QUEUE_LENGTH:
            current_app.send_task(task, [pk], queue=queue)
    except (RedisError, BrokerError) as error:
        logger.warning("The broker does not take %s(%s), the sweep will: %s", task, pk, error)


def begin_task(task: str, pk: int) -> None:
    """Let the row be queued again: what happens to it from now on may need another look."""
    with suppress(RedisError):
        valkey().delete(_queued(task, pk))


def _queued(task: str, pk: int) -> str:
    return f"keywell:queued:{task}:{pk}"


def database_now() -> datetime:
    """The database's clock, which all times in rows come from. Workers' clocks may differ."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


@contextmanager
def advisory_lock(name: str, pk: int) -> Iterator[bool]:
    """Whether nobody else is at this kind of work on this row: a lock of the session's, gone if its process dies."""
    lock = [crc32(name.encode()) - 2**31, pk % 2**31]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", lock)
        held = cursor.fetchone()[0]
        try:
            yield held
        finally:
            if held:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", lock)


class RetryableQuerySet(models.QuerySet):
    def due(self):
        return self.filter(due_at__lte=Now())

    def in_turn(self):
        """Retries first, for their rows have waited longest; then the longest overdue."""
        return self.order_by(Case(When(attempts=0, then=1), default=0), "due_at")

    def claim(self, pk):
        """Take a due row for one attempt, or return None if it is not ours to take.

        The claim is a lease: it already schedules the next attempt, so a worker that dies leaves nothing to clean up.
        The conditional update looks only at the row's own columns: with a joined condition PostgreSQL does not look
        again after waiting for the lock, and two workers both claim.
        """
        claimed = self.due().filter(pk=pk).update(due_at=Now() + LEASE, attempts=F("attempts") + 1)
        return self.get(pk=pk) if claimed else None


class Retryable(models.Model):
    """A piece of work that is tried until it is done. The row is the queue; tasks are only nudges.

    All times are the database's: workers' clocks may differ.
    """

    TASK = ""  # the Celery task that makes one attempt, called with the row's key
    # Delays after the first, the second, ... attempt; the last one repeats.
    SCHEDULE = tuple(timedelta(seconds=seconds) for seconds in (5, 10, 20, 30, 60, 60, 120, 300, 600, 900))
    # From then on it has failed, and a person is told.
    MAX_ATTEMPTS = 300  # three days

    created_at = models.DateTimeField(db_default=Now(), editable=False)
    due_at = models.DateTimeField(null=True, db_default=Now(), editable=False)
    attempts = models.PositiveIntegerField(default=0, editable=False)
    ended_at = models.DateTimeField(null=True, editable=False, help_text="When nothing was left to try.")
    reason = models.CharField(max_length=500, blank=True, editable=False, help_text="Why it is not done yet.")

    objects = RetryableQuerySet.as_manager()

    class Meta:
        abstract = True
        indexes = [models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="%(class)s_due")]

    def end(self, **fields) -> bool:
        """Record how this attempt ended: nothing is due any more. False if it is another's by now."""
        return self._update(due_at=None, ended_at=Now(), **fields)

    def postpone(self, reason: str, *, at_least: timedelta = timedelta(0), **fields) -> bool:
        """Record why this attempt failed, and have the next one made when its time comes."""
        return self._update(due_at=Now() + max(self._delay(), at_least), reason=reason[:500], **fields)

    def nudge(self) -> None:
        """Have a worker look at the row as soon as it is committed. If the broker is gone, the sweep will."""
        transaction.on_commit(self._publish, robust=True)

    def _publish(self) -> None:
        publish(self.TASK, self.pk, queue=self.queue)

    @property
    def queue(self) -> str:
        """Whose turn it is to look at the row."""
        return DEFAULT

    @property
    def is_last_attempt(self) -> bool:
        return self.attempts >= self.MAX_ATTEMPTS

    def _update(self, **fields) -> bool:
        # The number of attempts tells whether the lease is still ours.
        changed = type(self)._default_manager.filter(pk=self.pk, attempts=self.attempts).update(**fields)
        for name, value in fields.items():
            setattr(self, name, value)
        return bool(changed)

    def _delay(self) -> timedelta:
        step = self.SCHEDULE[min(self.attempts, len(self.SCHEDULE)) - 1]
        return step * random.uniform(0.9, 1.1)  # noqa: S311 (jitter)


class Incident(models.Model):
    """An unexpected error, by where it happened. `work.incidents` records it."""

    reference = models.CharField(max_length=7, unique=True, help_text="What users see, such as 7F3A-21.")
    error = models.CharField(max_length=200, help_text="The type of the error.")
    place = models.CharField(max_length=200, help_text="What failed the last time.")
    traceback = models.TextField(help_text="Where it was raised the last time, without any values.")
    times = models.PositiveIntegerField(default=1)
    first_at = models.DateTimeField(db_default=Now(), editable=False)
    last_at = models.DateTimeField(db_default=Now(), db_index=True, editable=False)

    def __str__(self):
        return self.reference
