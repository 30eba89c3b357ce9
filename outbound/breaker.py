"""Circuit breaker for servers that codes come from. All times come from the database."""

import random
from datetime import timedelta
from typing import Any

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce, Now
from django.utils.translation import gettext

from outbound.models import Upstream
from outbound.signals import upstream_back

# After this many consecutive temporary failures a server is only probed, after these pauses. The last one repeats.
FAILURES_BEFORE_PAUSE = 5
PAUSES = tuple(timedelta(seconds=seconds) for seconds in (30, 60, 120, 300, 600))
# How long a probe may take. Longer than any call.
PROBE_LEASE = timedelta(seconds=60)


class Paused(Exception):
    """The server is paused. The message is for the merchant."""

    def __init__(self, message: str, pause: timedelta):
        super().__init__(message)
        self.pause = pause


def _rows(upstream: Upstream) -> QuerySet[Upstream]:
    # The base model's rows, because an update across two tables isn't atomic.
    return Upstream.objects.filter(pk=upstream.pk)


def let_through(upstream: Upstream) -> bool:
    """Let a request through. While the server is paused, only one at a time, as a probe.

    Return whether this request is a probe. Raises Paused for the others.
    """
    paused = _rows(upstream).filter(paused_at__isnull=False)
    if paused.filter(probe_at__lte=Now()).update(probe_at=Now() + PROBE_LEASE):
        return True
    row = paused.values_list("paused_at", "probe_at", Now()).first()
    if row is None:
        return False
    paused_at, probe_at, now = row
    # Jitter, so that they don't all retry at the same moment.
    pause = max(probe_at - now, timedelta(0)) + timedelta(seconds=random.uniform(0, 5))  # noqa: S311
    raise Paused(
        gettext("Paused since {paused_at} UTC because it keeps failing. We try it from time to time.").format(
            paused_at=f"{paused_at:%Y-%m-%d, %H:%M}"
        ),
        pause,
    )


def release_probe(upstream: Upstream) -> None:
    _rows(upstream).filter(paused_at__isnull=False).update(probe_at=Now())


def note_failure(upstream: Upstream, *, is_probe: bool, at_least: timedelta = timedelta(0)) -> None:
    """Count a failure. Pause the server after too many, and for longer after a failed probe."""
    rows = _rows(upstream)
    rows.filter(failing_since=None).update(failing_since=Now())
    # Requests that were in progress when the pause began don't extend it.
    counted = rows.filter(paused_at__isnull=not is_probe)
    if not counted.update(failures=F("failures") + 1):
        return
    failures = rows.values_list("failures", flat=True).get()
    if failures >= FAILURES_BEFORE_PAUSE:
        pause = PAUSES[min(failures - FAILURES_BEFORE_PAUSE, len(PAUSES) - 1)]
        counted.update(paused_at=Coalesce("paused_at", Now()), probe_at=Now() + max(pause, at_least))


def note_answer(upstream: Upstream, **fields: Any) -> None:
    """Record that the server answered, which ends a pause. Without `fields`, it gave no code and counts as failing."""
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
    """Let the next request probe a paused server, because a person says that it is fixed."""
    _rows(upstream).filter(paused_at__isnull=False).update(probe_at=Now())
