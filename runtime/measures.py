"""What the installation is doing right now, for /metrics and the status page. Every number has a bounded cost."""

import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Min
from django.utils.translation import gettext_lazy as _

from delivery.models import Delivery
from fulfillment.models import Fulfillment
from orders.models import Order
from pools.models import KeyImport, LicensePool
from runtime.models import AuditRun, Heartbeat
from work.models import CALLOUTS, DEFAULT, IMPORTS, Incident, Retryable, database_now
from work.valkey import valkey

# Rows of each kind that are counted, and pools that are listed. More are counted as this many.
MAX_ROWS, MAX_POOLS = 10_000, 1_000
STATEMENT_TIMEOUT = "5s"
# The services that an installation always needs, by their queue, with what they do. Imports run on demand.
SERVICES = {
    DEFAULT: _("e-mails and keys"),
    CALLOUTS: _("requests to other servers"),
    "beat": _("the sweep, which finds lost work"),
}
ADDRESS = re.compile(r"\S+@\S+")
QUEUES = (DEFAULT, CALLOUTS, IMPORTS)

WORK = """
    SELECT '{kind}' AS kind, CASE WHEN due_at <= statement_timestamp() THEN 'due' ELSE 'scheduled' END AS state,
        count(*), min(due_at) AS due_at, min(created_at) AS created_at
    FROM (SELECT due_at, created_at FROM {table} WHERE due_at IS NOT NULL LIMIT {limit}) AS rows
    GROUP BY state
"""
SESSIONS = """
    SELECT coalesce(state, 'other'), count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' GROUP BY state
"""


@contextmanager
def limited() -> Iterator[None]:
    """Run statements that must neither take long nor read a whole table."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
        cursor.execute("SET LOCAL enable_seqscan = off")
        yield


@dataclass(frozen=True)
class Work:
    """Rows of one kind in one state. `late` is the seconds for which the most overdue one has been due."""

    kind: str
    state: str
    count: int
    age: float
    late: float


def read_work() -> list[Work]:
    """Count rows of work, up to MAX_ROWS of each kind, including test data."""
    models = sorted(
        (model for model in apps.get_models() if issubclass(model, Retryable)), key=lambda model: model._meta.db_table
    )
    query = " UNION ALL ".join(
        WORK.format(kind=model._meta.model_name, table=model._meta.db_table, limit=MAX_ROWS) for model in models
    )
    with limited(), connection.cursor() as cursor:
        now = database_now()
        cursor.execute(query)
        found = [
            Work(kind, state, count, _seconds(now, created_at), max(0, _seconds(now, due_at)))
            for kind, state, count, due_at, created_at in cursor.fetchall()
        ]
        return [*found, *_read_imports(now), *_read_stuck(now)]


def _read_imports(now: datetime) -> Iterator[Work]:
    running = KeyImport.objects.filter(status__in=[KeyImport.Status.READING, KeyImport.Status.IMPORTING])
    found = running.order_by().aggregate(count=Count("pk"), oldest=Min("uploaded_at"))
    if found["count"]:
        yield Work("keyimport", "due", found["count"], _seconds(now, found["oldest"]), 0)


def _read_stuck(now: datetime) -> Iterator[Work]:
    """Items of paid orders that wait for keys or a person, or failed, without test data."""
    states = Fulfillment.Status.WAITING, Fulfillment.Status.FAILED
    paid = Fulfillment.objects.filter(order__status=Order.Status.PAID, order__merchant__live=None)
    for state in states:
        rows = paid.filter(status=state).order_by()[:MAX_ROWS]
        found = rows.aggregate(count=Count("pk"), oldest=Min("created_at"))
        if found["count"]:
            yield Work("fulfillment", str(state), found["count"], _seconds(now, found["oldest"]), 0)


def _seconds(now: datetime, then: datetime) -> float:
    return (now - then).total_seconds()


def read_failing_deliveries() -> list[tuple[str, int]]:
    """Return why e-mails to customers are being retried, with their numbers, most frequent first.

    Mail servers name the customer's address, which is removed.
    """
    with limited():
        failing = Delivery.objects.filter(due_at__isnull=False, attempts__gt=0).exclude(reason="")[:MAX_ROWS]
        reasons = failing.values_list("reason", flat=True)
        return Counter(ADDRESS.sub("…", reason) for reason in reasons).most_common(10)


def read_pools() -> list[LicensePool]:
    """Return pools with their `available` keys, those with a notice about low stock first, without test data."""
    pools = LicensePool.objects.filter(merchant__live=None).select_related("merchant").with_stock()
    with limited():
        return list(pools.order_by("-notified", "pk")[:MAX_POOLS])


@dataclass(frozen=True)
class Beat:
    service: str
    node: str
    age: float  # in seconds

    @property
    def is_missing(self) -> bool:
        return self.age > Heartbeat.TIMEOUT.total_seconds()

    def serves(self, service: str) -> bool:
        return service in self.service.split(",") and not self.is_missing


def read_heartbeats() -> list[Beat]:
    now = database_now()
    return [Beat(row.service, row.node, _seconds(now, row.beat_at)) for row in Heartbeat.objects.order_by("service")]


def missing_services(beats: list[Beat]) -> list[str]:
    """Return the necessary services that no process does."""
    return [service for service in SERVICES if not any(beat.serves(service) for beat in beats)]


def read_queue_lengths() -> dict[str, int]:
    return {queue: int(valkey().llen(queue)) for queue in QUEUES}


@dataclass(frozen=True)
class Sessions:
    by_state: Mapping[str, int]
    limit: int


def read_sessions() -> Sessions:
    with connection.cursor() as cursor:
        cursor.execute(SESSIONS)
        by_state = dict(cursor.fetchall())
        cursor.execute("SELECT current_setting('max_connections')::int")
        return Sessions(by_state, cursor.fetchone()[0])


def read_last_audit() -> AuditRun | None:
    return AuditRun.objects.filter(ended_at__isnull=False).order_by("-night").first()


def read_incidents() -> Any:
    """Return the kinds of unexpected errors that happened within the last day, newest first."""
    return Incident.objects.filter(last_at__gte=database_now() - timedelta(days=1)).order_by("-last_at")


def read_free_disk() -> tuple[int, int]:
    """Return the free and total bytes of the disk with KEYWELL_VAR."""
    usage = shutil.disk_usage(settings.VAR)
    return usage.free, usage.total
