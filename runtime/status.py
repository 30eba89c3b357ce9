"""The state of the installation in words: what was found, and what to do about it."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from time import monotonic

from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _
from redis.exceptions import RedisError

from runtime import measures
from runtime.health import MIN_FREE_BYTES
from runtime.supervisor import failing_services
from work.models import MAX_QUEUE_LENGTH, Incident
from work.valkey import valkey

logger = logging.getLogger(__name__)

# The states of findings are badges (portal/templatetags/portal.py).
OK, WARNING, FAILED = "ok", "warning", "failed"
# Seconds for which work may be due while workers are busy, and until nobody seems to do it.
LATE, VERY_LATE = 120, 900
# Parts of the disk and of the connections that should stay free.
MIN_FREE_SHARE = 0.1
AUDIT_INTERVAL = timedelta(days=2)
MAX_BACKUP_AGE = timedelta(days=2)
GIBIBYTE = 1024**3
RECENT = 15  # seconds


@dataclass(frozen=True)
class Finding:
    subject: str
    text: str
    state: str = OK
    remedy: str = ""
    details: list[str] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)  # only for people who may see them


def check_all() -> list[Finding]:
    return run_checks(CHECKS)


def check_recently() -> list[Finding]:
    """What `check_all` found within the last 15 seconds. It takes a dozen queries."""
    return _check_once(get_language(), timezone.get_current_timezone_name(), int(monotonic() // RECENT))


@lru_cache(maxsize=16)
def _check_once(language: str, zone: str, period: int) -> list[Finding]:
    return check_all()


def run_checks(checks: Iterable[Callable[[], Iterator[Finding]]]) -> list[Finding]:
    """Run every check on its own, since they are needed most when something is down. Problems come first."""
    findings = [finding for check in checks for finding in _run(check)]
    return sorted(findings, key=lambda finding: [FAILED, WARNING, OK].index(finding.state))


def _run(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    try:
        return list(check())
    except Exception as error:
        name = check.__name__.removeprefix("check_")
        logger.warning("The status of the %s can’t be read: %s", name, type(error).__name__)
        text = _("The {name} can’t be checked: {error}.").format(name=name, error=type(error).__name__)
        remedy = _("Look into the web server’s log. Usually the database or the broker doesn’t answer.")
        return [Finding(name.capitalize(), text, FAILED, remedy)]


def check_services() -> Iterator[Finding]:
    subject = _("Services")
    if failing := failing_services():
        text = _("These services are down and being restarted: {names}.").format(names=", ".join(failing))
        yield Finding(subject, text, FAILED, _("Read the end of their logs in $KEYWELL_VAR/log."))
    beats = measures.read_heartbeats()
    for service in measures.missing_services(beats):
        text = _("No process does {work} (service {service}).").format(
            work=measures.SERVICES[service], service=service
        )
        remedy = _("Start it: `python3 run.py` starts all services, docs/operating.md lists the commands without it.")
        yield Finding(subject, text, FAILED, remedy)
    for beat in beats:
        if beat.is_missing:
            minutes = round(beat.age / 60)
            text = ngettext(
                "{node} has been silent for {minutes} minute.",
                "{node} has been silent for {minutes} minutes.",
                minutes,
            ).format(node=f"{beat.service}, {beat.node}", minutes=minutes)
            remedy = _("If you removed it, do nothing: it disappears after an hour. Otherwise restart it.")
            yield Finding(subject, text, WARNING, remedy)
    alive = [f"{beat.service}: {beat.node}" for beat in beats if not beat.is_missing]
    if alive:
        text = ngettext("{count} process is alive.", "{count} processes are alive.", len(alive))
        yield Finding(subject, text.format(count=len(alive)), details=alive)


def check_database() -> Iterator[Finding]:
    subject = _("Database")
    sessions = measures.read_sessions()
    used = sum(sessions.by_state.values())
    text = _("{used} of {limit} connections are in use.").format(used=used, limit=sessions.limit)
    if used > sessions.limit * (1 - MIN_FREE_SHARE):
        yield Finding(subject, text, WARNING, _("Raise max_connections, or reduce processes and threads."))
    else:
        yield Finding(subject, text)


def check_broker() -> Iterator[Finding]:
    subject = _("Broker")
    try:
        valkey().ping()
    except RedisError:
        text = _("The broker doesn’t answer. Payments are accepted, and e-mails wait.")
        yield Finding(subject, text, FAILED, _("Start Valkey, or correct BROKER_URL."))
        return
    lengths = measures.read_queue_lengths()
    details = [_("{queue}: {count} tasks").format(queue=queue, count=count) for queue, count in lengths.items()]
    full = [queue for queue, count in lengths.items() if count >= MAX_QUEUE_LENGTH]
    if full:
        text = _("These queues are full: {names}.").format(names=", ".join(full))
        remedy = _("Nothing is lost. If they stay full, start more workers, or look for a server that is slow.")
        yield Finding(subject, text, WARNING, remedy, details)
    else:
        yield Finding(subject, _("The broker answers, and its queues are short."), details=details)


def check_work() -> Iterator[Finding]:
    subject = _("Work")
    rows = measures.read_work()
    details = [
        _("{kind}, {state}: {count}, the oldest {age} old").format(
            kind=work.kind, state=work.state, count=_at_least(work.count), age=_duration(work.age)
        )
        for work in rows
    ]
    late = [work for work in rows if work.late > LATE]
    for work in late:
        text = _("Work of the kind {kind} has been due for {late}.").format(kind=work.kind, late=_duration(work.late))
        remedy = _("See whether its workers run, and what their logs say. If they are busy, start more.")
        yield Finding(subject, text, FAILED if work.late > VERY_LATE else WARNING, remedy, details)
    if not late:
        yield Finding(subject, _("All work is done in time."), details=details)


def check_deliveries() -> Iterator[Finding]:
    subject = _("E-mails")
    failing = measures.read_failing_deliveries()
    if not failing:
        yield Finding(subject, _("No e-mail to a customer is failing."))
        return
    count = sum(number for _, number in failing)
    text = ngettext(
        "{count} e-mail to a customer is being retried.", "{count} e-mails to customers are being retried.", count
    ).format(count=_at_least(count))
    remedy = _("Read the reason, and check the mail server and its login (EMAIL_URL).")
    yield Finding(subject, text, WARNING, remedy, [f"{count} × {reason}" for reason, count in failing])


def check_disk() -> Iterator[Finding]:
    subject = _("Disk")
    free, total = measures.read_free_disk()
    text = _("{free:.1f} of {total:.1f} GiB are free.").format(free=free / GIBIBYTE, total=total / GIBIBYTE)
    if free < total * MIN_FREE_SHARE:
        remedy = _("Make room, or enlarge the disk. When it is full, payments are refused until there is room.")
        yield Finding(subject, text, FAILED if free < 4 * MIN_FREE_BYTES else WARNING, remedy)
    else:
        yield Finding(subject, text)


def check_errors() -> Iterator[Finding]:
    subject = _("Unexpected errors")
    incidents = list(measures.read_incidents())
    if not incidents:
        yield Finding(subject, _("None within the last day."))
        return
    text = ngettext("{count} kind within the last day.", "{count} kinds within the last day.", len(incidents))
    remedy = _("Look at them under Incidents, and report them to your vendor or the developers.")
    yield Finding(subject, text.format(count=len(incidents)), WARNING, remedy, incidents=incidents[:20])


def check_audit() -> Iterator[Finding]:
    subject = _("Nightly audit")
    audit = measures.read_last_audit()
    if audit is None:
        yield Finding(subject, _("It hasn’t run yet. It runs every night between 2:00 and 6:00 UTC."))
        return
    if audit.count:
        text = ngettext(
            "It found {count} violation on {night}.", "It found {count} violations on {night}.", audit.count
        )
        remedy = _("Stop selling the pools and orders that it names, and run `python3 run.py manage audit --texts`.")
        yield Finding(subject, text.format(count=audit.count, night=audit.night), FAILED, remedy, audit.findings)
    elif audit.time_since > AUDIT_INTERVAL:
        text = _("It last ran on {night}.").format(night=audit.night)
        yield Finding(subject, text, WARNING, _("See whether beat and the worker for imports run."))
    else:
        yield Finding(subject, _("It found nothing on {night}.").format(night=audit.night))


def check_backup() -> Iterator[Finding]:
    subject = _("Backup")
    backup = measures.read_last_backup()
    remedy = _("Run `python3 run.py manage backup FOLDER` every night, and copy the folder to another machine.")
    if backup is None:
        yield Finding(subject, _("There has been none."), WARNING, remedy)
        return
    text = _("The last one was made on {made_at}.").format(
        made_at=date_format(timezone.localtime(backup.made_at), "ZONED_FORMAT")
    )
    if timezone.now() - backup.made_at > MAX_BACKUP_AGE:
        yield Finding(subject, text, WARNING, remedy)
    else:
        yield Finding(subject, text)


CHECKS: list[Callable[[], Iterator[Finding]]] = [
    check_services,
    check_database,
    check_broker,
    check_work,
    check_deliveries,
    check_disk,
    check_errors,
    check_audit,
    check_backup,
]


def _at_least(count: int) -> str:
    return intcomma(count) if count < measures.MAX_ROWS else f"{intcomma(measures.MAX_ROWS)}+"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
