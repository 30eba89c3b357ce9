"""Unexpected errors: users see a reference, and support staff look it up in the admin."""

import logging
import traceback
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

from django.conf import settings
from django.db import Error, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext

from work.models import Incident
from work.retention import delete_in_batches

logger = logging.getLogger(__name__)

INCIDENT_RETENTION = timedelta(days=90)
MAX_FRAMES = 50


def report(error: BaseException, place: str) -> str:
    """Log an unexpected error, record it for support staff and return its reference, such as "7F3A-21".

    The same fault keeps its reference: it is derived from the error's type and where it was raised. An error that
    passes through here twice is recorded once. The error's message is not recorded, since it may hold a license or an
    address. `place` says what failed and must not hold either.
    """
    known: str | None = getattr(error, "incident_reference", None)
    if known:
        return known
    name = type(error).__qualname__
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    reference = _reference(name, frames)
    error.incident_reference = reference  # type: ignore[attr-defined]
    logger.error("Reference %s: %s", reference, place, exc_info=error)
    record = {"place": place[:200], "last_at": Now(), "traceback": "".join(traceback.format_list(frames))}
    try:
        with transaction.atomic():
            if not Incident.objects.filter(reference=reference).update(times=F("times") + 1, **record):
                row = Incident(reference=reference, error=name[:200], **record)
                Incident.objects.bulk_create([row], ignore_conflicts=True)
    except Error:
        logger.warning("The database could not record incident %s; it is in the log only.", reference)
    return reference


def sentence(error: BaseException, place: str) -> str:
    """Report an unexpected error and return what its user reads."""
    text = gettext("Something went wrong on our side (reference {reference}).")
    return text.format(reference=report(error, place))


def purge_incidents() -> None:
    """Delete the incidents that have not happened for INCIDENT_RETENTION."""
    delete_in_batches(Incident.objects.filter(last_at__lt=Now() - INCIDENT_RETENTION).order_by("last_at"))


def _reference(name: str, frames: list[traceback.FrameSummary]) -> str:
    ours = [index for index, frame in enumerate(frames) if _is_ours(frame.filename)]
    raised = [(Path(frame.filename).name, frame.name) for frame in frames[ours[-1] if ours else 0 :]]
    digest = sha256(repr((name, raised)).encode()).hexdigest().upper()
    return f"{digest[:4]}-{digest[4:6]}"


def _is_ours(file_name: str) -> bool:
    path = Path(file_name)
    return path.is_relative_to(settings.BASE_DIR) and "site-packages" not in path.parts
