"""What the installation is doing right now, for /metrics and the status page. Every number has a bounded cost."""

import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from delivery.models import Delivery
from pools.models import LicensePool
from runtime.models import AuditRun, Backup, Heartbeat
from work.models import CALLOUTS, DEFAULT, IMPORTS, Incident, Retryable
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

# Rows of one kind that are due or scheduled.
WORK = """
    SELECT '{kind}' AS kind, CASE WHEN due_at <= statement_timestamp() THEN 'due' ELSE 'scheduled' END AS state,
        count(*), min(created_at) AS created_at, min(due_at) AS due_at
    FROM (SELECT due_at, created_at FROM {table} WHERE due_at IS NOT NULL LIMIT {limit}) AS rows
    GROUP BY state
"""
# Items of paid orders that wait for keys or a person, or failed, without test data.
STUCK = """
    SELECT 'fulfillment', '{state}', count(*), min(created_at), NULL
    FROM (
        SELECT work.created_at FROM fulfillment_fulfillment AS work
        JOIN orders_order AS ord ON ord.id = work.order_id AND ord.status = 'paid'
        JOIN merchants_merchant AS merchant ON merchant.id = ord.merchant_id AND merchant.live_id IS NULL
        WHERE work.status = '{state}' LIMIT {limit}
    ) AS rows
"""
# Events of shops that a person has to look at, or that wait for a payment or a sale, without test data.
UNUSED = """
    SELECT 'event', '{state}', count(*), min(created_at), NULL
    FROM (SELECT created_at FROM shops_event WHERE state = '{state}' AND NOT is_test LIMIT {limit}) AS rows
"""
IMPORTS_RUNNING = """
    SELECT 'keyimport', 'due', count(*), min(uploaded_at), NULL
    FROM pools_keyimport WHERE status IN ('reading', 'importing')
"""
AGES = """
    SELECT kind, state, count, extract(epoch FROM statement_timestamp() - created_at)::float,
        coalesce(greatest(0, extract(epoch FROM statement_timestamp() - due_at)), 0)::float
    FROM ({rows}) AS work WHERE count > 0
"""
SESSIONS = """
    SELECT coalesce(state, 'other'), count(*), current_setting('max_connections')::int FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' GROUP BY state
"""
LIMITS = f"""
    SELECT set_config('statement_timeout', '{STATEMENT_TIMEOUT}', true), set_config('enable_seqscan', 'off', true)
"""


@contextmanager
def limited() -> Iterator[None]:
    """Run statements that must neither take long nor read a whole table."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LIMITS)
        yield


@dataclass(frozen=True)
class Work:
    """Rows of one kind in one state. Times are in seconds."""

    kind: str
    state: str
    count: int
    age: float  # of the oldest one
    late: float  # for which the most overdue one has been due


def read_work() -> list[Work]:
    """Count rows of work, up to MAX_ROWS of each kind, including test data."""
    with limited(), connection.cursor() as cursor:
        cursor.execute(compose_work())
        return [Work(*row) for row in cursor.fetchall()]


def compose_work() -> str:
    models = sorted(
        (model for model in apps.get_models() if issubclass(model, Retryable)), key=lambda model: model._meta.db_table
    )
    rows = [WORK.format(kind=model._meta.model_name, table=model._meta.db_table, limit=MAX_ROWS) for model in models]
    rows += [STUCK.format(state=state, limit=MAX_ROWS) for state in ("waiting", "failed")]
    rows += [UNUSED.format(state=state, limit=MAX_ROWS) for state in ("parked", "failed")]
    return AGES.format(rows=" UNION ALL ".join([*rows, IMPORTS_RUNNING]))


def read_failing_deliveries() -> list[tuple[str, int]]:
    """Return why e-mails to customers are being retried, with their numbers, most frequent first.

    Mail servers name the customer's address, which is removed.
    """
    failing = Delivery.objects.filter(due_at__isnull=False, attempts__gt=0).exclude(reason="")[:MAX_ROWS]
    return Counter(ADDRESS.sub("…", reason) for reason in failing.values_list("reason", flat=True)).most_common(10)


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
    rows = Heartbeat.objects.annotate(silence=Now() - F("beat_at")).order_by("service", "node")
    return [Beat(row.service, row.node, row.silence.total_seconds()) for row in rows]


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
        rows = cursor.fetchall()
    return Sessions({state: count for state, count, _ in rows}, rows[0][2])


def read_last_audit() -> Any:
    """Return the last AuditRun with the `time_since` then, or None."""
    ended = AuditRun.objects.filter(ended_at__isnull=False)
    return ended.annotate(time_since=Now() - F("ended_at")).order_by("-night").first()


def read_last_backup() -> Backup | None:
    return Backup.objects.order_by("-made_at").first()


def read_incidents() -> Any:
    """Return the kinds of unexpected errors that happened within the last day, newest first."""
    return Incident.objects.filter(last_at__gte=Now() - timedelta(days=1)).order_by("-last_at")


def read_free_disk() -> tuple[int, int]:
    """Return the free and total bytes of the disk with KEYWELL_VAR."""
    usage = shutil.disk_usage(settings.VAR)
    return usage.free, usage.total
