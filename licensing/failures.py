"""Records why validations failed, without licensee numbers, session ids or node secrets."""

import logging
from datetime import timedelta

from django.db import DatabaseError, transaction
from django.utils import timezone

from licensing.models import FailedValidation
from licensing.models.licensees import MAX_REASON
from licensing.validation import Holding, Validation

logger = logging.getLogger(__name__)

# A repeated failure is recorded at most once in this interval.
REPEAT_INTERVAL = timedelta(minutes=1)


def record_failures(holding: Holding, validations: list[Validation], *, actor: str) -> None:
    failures = []
    for validation in validations:
        if not validation.result.reason:
            continue
        module = validation.module
        failures.append(
            FailedValidation(
                module_number=module.number,
                module_name=module.name,
                licensing_model=module.licensing_model,
                reason=validation.result.reason,
            )
        )
    _record(holding, failures, actor)


def record_refusal(holding: Holding, reason: str, *, actor: str) -> None:
    _record(holding, [FailedValidation(reason=reason[:MAX_REASON])], actor)


def _record(holding: Holding, failures: list[FailedValidation], actor: str) -> None:
    """Log database errors instead of raising them: the validation gets its response either way."""
    now = timezone.now()
    recent = {
        (known.module_number, known.reason) for known in holding.failures if known.failed_at > now - REPEAT_INTERVAL
    }
    failures = [failure for failure in failures if (failure.module_number, failure.reason) not in recent]
    if not failures or holding.licensee.pk is None:
        return
    for failure in failures:
        failure.licensee, failure.failed_at, failure.asked_by = holding.licensee, now, actor
    try:
        with transaction.atomic():
            FailedValidation.objects.bulk_create(
                failures,
                update_conflicts=True,
                unique_fields=["licensee", "module_number"],
                update_fields=["module_name", "licensing_model", "reason", "failed_at", "asked_by"],
            )
    except DatabaseError:
        logger.exception("A failed validation could not be recorded")
