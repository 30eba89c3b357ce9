"""Rows of work, retried until they are done."""

import logging
import random
from contextlib import suppress
from datetime import datetime, timedelta

from celery import current_app
from django.db import connection, models, transaction
from django.db.models import F, Q
from django.db.models.functions import Least, Now
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from work.valkey import valkey

logger = logging.getLogger(__name__)

# How long a worker has for one attempt. Longer than CELERY_TASK_TIME_LIMIT, so that two workers never overlap.
LEASE = timedelta(seconds=60)


# Seconds during which a queued row isn't queued again, unless a worker has begun its task.
QUEUED_TTL = 30
# The same for a task that many rows share: if it is lost, they all wait for this long.
SHARED_TTL = 5
# A longer queue gets no more tasks. Workers and the sweep find the rows anyway.
MAX_QUEUE_LENGTH = 1000


# Each queue has a worker of its own (run.py).
DEFAULT = "celery"
CALLOUTS = "callouts"  # waits for other people's servers
IMPORTS = "imports"  # takes long


def publish(task: str, pk: int, *, queue: str = DEFAULT, ttl: int = QUEUED_TTL) -> None:
    """Queue a task for a row, unless it is already queued or the queue is long. `ttl` is in seconds.

    The task is only a nudge. If it gets lost or the broker is down, the sweep queues it again.
    """
    try:
        # This also detects within half a second that the broker is down. Celery would retry for longer.
        if valkey().set(_queued(task, pk), 1, nx=True, ex=ttl) and valkey().llen(queue) < MAX_QUEUE_LENGTH:
            current_app.send_task(task, [pk], queue=queue)
    except (RedisError, BrokerError) as error:
        logger.warning("Couldn’t queue %s(%s), leaving it to the sweep: %s", task, pk, error)


def begin_task(task: str, pk: int) -> None:
    """Let the row be queued again, because a change from now on may need another task."""
    with suppress(RedisError):
        valkey().delete(_queued(task, pk))


def _queued(task: str, pk: int) -> str:
    return f"keywell:queued:{task}:{pk}"


def database_now() -> datetime:
    """Return the database's time, which rows use. Workers' clocks may differ."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


class RetryableQuerySet(models.QuerySet):
    def due(self):
        return self.filter(due_at__lte=Now())

    def in_turn(self):
        """Retries first, because they have waited longest, then the longest overdue."""
        return self.order_by(Least("attempts", 1).desc(), "due_at")

    def claim(self, pk):
        """Claim a due row for one attempt. Return None if it isn't due or another worker has it.

        The claim is a lease: it schedules the next attempt, so a worker that dies leaves nothing to clean up.
        The update filters only on the row's own columns. With a join, PostgreSQL doesn't recheck the condition after
        waiting for the lock, and two workers could claim the row.
        """
        claimed = self.due().filter(pk=pk).update(due_at=Now() + LEASE, attempts=F("attempts") + 1)
        return self.get(pk=pk) if claimed else None


class Retryable(models.Model):
    """A piece of work that is retried until it is done. The row is the queue, and tasks are only nudges.

    All times come from the database, because workers' clocks may differ.
    """

    TASK = ""  # the Celery task that makes one attempt, called with the row's primary key
    # Delays after the first, second, ... attempt. The last one repeats.
    SCHEDULE = tuple(timedelta(seconds=seconds) for seconds in (5, 10, 20, 30, 60, 60, 120, 300, 600, 900))
    # After this many attempts it has failed.
    MAX_ATTEMPTS = 300  # three days

    created_at = models.DateTimeField(db_default=Now(), editable=False)
    due_at = models.DateTimeField(null=True, db_default=Now(), editable=False)
    attempts = models.PositiveIntegerField(default=0, editable=False)
    ended_at = models.DateTimeField(null=True, editable=False, help_text="When it was done or failed.")
    reason = models.CharField(max_length=500, blank=True, editable=False, help_text="Why it is not done.")

    objects = RetryableQuerySet.as_manager()

    class Meta:
        abstract = True
        indexes = [models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="%(class)s_due")]

    def end(self, **fields) -> bool:
        """Record the outcome. The row is no longer due. Return False if another worker has the lease by now."""
        return self._update(due_at=None, ended_at=Now(), **fields)

    def postpone(self, reason: str, *, at_least: timedelta = timedelta(0), **fields) -> bool:
        """Record why this attempt failed and schedule the next one."""
        return self._update(due_at=Now() + max(self._delay(), at_least), reason=reason[:500], **fields)

    def nudge(self) -> None:
        """Queue the row's task after the commit. If the broker is down, the sweep does it."""
        transaction.on_commit(self._publish, robust=True)

    def _publish(self) -> None:
        publish(self.TASK, self.pk, queue=self.queue)

    @property
    def queue(self) -> str:
        return DEFAULT

    @property
    def is_last_attempt(self) -> bool:
        return self.attempts >= self.MAX_ATTEMPTS

    def _update(self, **fields) -> bool:
        # A higher number of attempts means that another worker has the lease.
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
