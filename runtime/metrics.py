"""`/metrics`: counters of all processes on this machine, and the state of the installation (docs/monitoring.md)."""

import hmac
import logging
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from runtime import measures
from runtime.supervisor import failing_services
from version import version

logger = logging.getLogger(__name__)

# A proxy adds at least one of these.
FORWARDED = ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Forwarded", "Via")


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    if refusal := _refuse(request):
        return refusal
    registry = CollectorRegistry()
    registry.register(StateCollector())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _refuse(request: HttpRequest) -> HttpResponse | None:
    if _is_from_this_machine(request):
        return None
    if not settings.METRICS_TOKEN:
        text = "Only programs on this machine can read the metrics. For others, set METRICS_TOKEN.\n"
        return HttpResponse(text, status=404, content_type="text/plain")
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if hmac.compare_digest(given.encode(), settings.METRICS_TOKEN.encode()):
        return None
    headers = {"WWW-Authenticate": "Bearer"}
    text = "Send the header “Authorization: Bearer …” with the METRICS_TOKEN.\n"
    return HttpResponse(text, status=401, headers=headers, content_type="text/plain; charset=utf-8")


def _is_from_this_machine(request: HttpRequest) -> bool:
    """Return whether a program on this machine asks directly. A proxy on this machine asks for others."""
    try:
        address = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback and not any(header in request.headers for header in FORWARDED)


class StateCollector(Collector):
    """Runs each part on its own, so that one that fails doesn't hide the others."""

    def collect(self) -> Iterator[Metric]:
        info = Gauge("keywell_info", "The running version.", labels=["version"])
        info.add_metric([version()], 1)
        yield info
        up = Gauge("keywell_part_up", "Whether this part of the metrics could be read.", labels=["part"])
        for name, part in PARTS.items():
            try:
                found = list(part())
            except Exception as error:
                logger.warning("The metrics of the part %s can’t be read: %s", name, type(error).__name__)
                up.add_metric([name], 0)
            else:
                up.add_metric([name], 1)
                yield from found
        yield up

    def describe(self) -> Iterator[Metric]:
        """Keep the registry from calling `collect` only to learn the names."""
        return iter(())


def _counters() -> Iterator[Metric]:
    folder = Path(settings.METRICS_FOLDER)
    if folder.is_dir():
        yield from MultiProcessCollector(None, str(folder)).collect()


def _work() -> Iterator[Metric]:
    rows = Gauge(
        "keywell_work",
        f"Rows of work by kind and state, counted up to {measures.MAX_ROWS:,}.",
        labels=["kind", "state"],
    )
    age = Gauge("keywell_work_oldest_seconds", "Age of the oldest of these rows.", labels=["kind", "state"])
    late = Gauge("keywell_work_late_seconds", "Time for which the most overdue row has been due.", labels=["kind"])
    for work in measures.read_work():
        rows.add_metric([work.kind, work.state], work.count)
        age.add_metric([work.kind, work.state], work.age)
        if work.state == "due":
            late.add_metric([work.kind], work.late)
    yield from (rows, age, late)


def _stock() -> Iterator[Metric]:
    labels = ["merchant", "pool", "name"]
    available = Gauge("keywell_pool_available", "Keys in stock, without the reserve and test data.", labels=labels)
    threshold = Gauge("keywell_pool_threshold", "The stock at which the merchant gets a notice.", labels=labels)
    for pool in measures.read_pools():
        values = [pool.merchant.slug, str(pool.pk), pool.name]
        available.add_metric(values, pool.available)  # type: ignore[attr-defined]
        threshold.add_metric(values, pool.threshold)
    yield from (available, threshold)


def _heartbeats() -> Iterator[Metric]:
    age = Gauge(
        "keywell_heartbeat_age_seconds", "Time since a process recorded that it is alive.", labels=["service", "node"]
    )
    alive = Gauge("keywell_service_processes", "Processes that do this service.", labels=["service"])
    beats = measures.read_heartbeats()
    for beat in beats:
        age.add_metric([beat.service, beat.node], beat.age)
    for service in measures.SERVICES:
        alive.add_metric([service], sum(beat.serves(service) for beat in beats))
    yield from (age, alive)


def _queues() -> Iterator[Metric]:
    length = Gauge("keywell_queue_length", "Tasks in a queue of the broker.", labels=["queue"])
    for queue, count in measures.read_queue_lengths().items():
        length.add_metric([queue], count)
    yield length


def _database() -> Iterator[Metric]:
    sessions = measures.read_sessions()
    connections = Gauge("keywell_database_connections", "Connections to the database by state.", labels=["state"])
    for state, count in sessions.by_state.items():
        connections.add_metric([state], count)
    yield connections
    yield Gauge("keywell_database_max_connections", "The limit of connections to the server.", value=sessions.limit)


def _errors() -> Iterator[Metric]:
    count = len(measures.read_incidents())
    yield Gauge("keywell_incidents", "Kinds of unexpected errors within the last day.", value=count)


def _backup() -> Iterator[Metric]:
    if backup := measures.read_last_backup():
        made_at = backup.made_at.timestamp()
        yield Gauge("keywell_backup_timestamp_seconds", "When the last backup was made.", value=made_at)


def _audit() -> Iterator[Metric]:
    if audit := measures.read_last_audit():
        ended_at = audit.ended_at.timestamp()
        yield Gauge("keywell_audit_timestamp_seconds", "When the last nightly audit ended.", value=ended_at)
        yield Gauge("keywell_audit_findings", "What the last nightly audit found.", value=audit.count)


def _machine() -> Iterator[Metric]:
    free, total = measures.read_free_disk()
    yield Gauge("keywell_disk_free_bytes", "Free space for KEYWELL_VAR.", value=free)
    yield Gauge("keywell_disk_size_bytes", "Size of the disk with KEYWELL_VAR.", value=total)
    failing = len(failing_services())
    yield Gauge("keywell_services_failing", "Services of run.py that are down or keep exiting.", value=failing)


PARTS: dict[str, Callable[[], Iterator[Metric]]] = {
    "counters": _counters,
    "work": _work,
    "stock": _stock,
    "heartbeats": _heartbeats,
    "queues": _queues,
    "database": _database,
    "errors": _errors,
    "audit": _audit,
    "backup": _backup,
    "machine": _machine,
}
