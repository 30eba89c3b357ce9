"""When to leave a server alone that codes come from: a circuit breaker. All times are the database's."""

import random
from datetime import timedelta
from typing import Any

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce, Now

from outbound.models import Upstream
from outbound.signals import upstream_back

# So many temporary failures one after another, and a service is only probed: after these pauses; the last repeats.
FAILURES_BEFORE_PAUSE = 5
PAUSES = tuple(timedelta(seconds=seconds) for seconds in (30, 60, 120, 300, 600))
# How long a probe may take; longer than any call.
PROBE_LEASE = timedelta(seconds=60)


class Paused(Exception):
    """It is not asked now. The text is for the merchant."""

    def __init__(self, message: str, pause: timedelta):
        super().__init__(message)
        self.pause = pause


def _rows(upstream: Upstream) -> QuerySet[Upstream]:
    # Not of its kind's model: an update that spans two tables is not atomic.
    return Upstream.objects.filter(pk=upstream.pk)


def let_through(upstream: Upstream) -> bool:
    """Let one request through at a time while it is paused; return whether this is it, a probe.

    Raises Paused to the others.
    """
    paused = _rows(upstream).filter(paused_at__isnull=False)
    if paused.filter(probe_at__lte=Now()).update(probe_at=Now() + PROBE_LEASE):
        return True
    row = paused.values_list("paused_at", "probe_at", Now()).first()
    if row is None:
        return False
    paused_at, probe_at, now = row
    # Not all of them at the same moment.
    pause = max(probe_at - now, timedelta(0)) + timedelta(seconds=random.uniform(0, 5))  # noqa: S311
    raise Paused(f"It fails, so it is paused since {paused_at:%-d %b, %H:%M} UTC and probed now and then.", pause)


def give_back_probe(upstream: Upstream) -> None:
    _rows(upstream).filter(paused_at__isnull=False).update(probe_at=Now())


def note_failure(upstream: Upstream, *, is_probe: bool, at_least: timedelta = timedelta(0)) -> None:
    """Pause the service when it failed too often, and for longer when a probe did."""
    rows = _rows(upstream)
    rows.filter(failing_since=None).update(failing_since=Now())
    # Of those that were on their way when it was paused none makes the pause longer.
    counted = rows.filter(paused_at__isnull=not is_probe)
    if not counted.update(failures=F("failures") + 1):
        return
    failures = rows.values_list("failures", flat=True).get()
    if failures >= FAILURES_BEFORE_PAUSE:
        pause = PAUSES[min(failures - FAILURES_BEFORE_PAUSE, len(PAUSES) - 1)]
        counted.update(paused_at=Coalesce("paused_at", Now()), probe_at=Now() + max(pause, at_least))


def note_answer(upstream: Upstream, **fields: Any) -> None:
    """The service is there; without fields: though it gave no code."""
    rows = _rows(upstream)
    if not fields:
        rows.filter(failing_since=None).update(failing_since=Now())
    was_paused = rows.exclude(paused_at=None).update(paused_at=None, probe_at=None, failures=0, **fields)
    rows.filter(~Q(failures=0) | Q(failing_since__isnull=False)).update(failures=0, **fields)
    if was_paused:
        upstream_back.send(sender=type(upstream), upstream=upstream)


def note_success(upstream: Upstream) -> None:
    note_answer(upstream, failing_since=None)


def probe_now(upstream: Upstream) -> None:
    """Have a service that is paused probed by the next request: a person says that it is mended."""
    _rows(upstream).filter(paused_at__isnull=False).update(probe_at=Now())
