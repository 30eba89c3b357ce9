"""Keeps refused reports for a while so that merchants can see them."""

import json
from datetime import timedelta

from django.db.models import F
from django.db.models.functions import Now

from merchants.models import Merchant
from orders.models import RefusedReport
from vault.fingerprints import fingerprint
from work.retention import delete_in_batches

REFUSAL_RETENTION = timedelta(days=30)
MAX_ERRORS = 20


def record_refusal(
    merchant: Merchant, *, kind: str, number: str, status: int, reason: str, errors: list[dict[str, str]], actor: str
) -> None:
    """Record a refused report, or count it if it was recorded before. `errors` must not quote reported values."""
    content = {"kind": kind, "order_number": number[:64], "status": status, "reason": reason[:500]}
    content["errors"] = errors[:MAX_ERRORS]
    digest = fingerprint(json.dumps(content, sort_keys=True))
    known = RefusedReport.objects.filter(merchant=merchant, digest=digest)
    again = {"times": F("times") + 1, "last_at": Now(), "reported_by": actor}
    if not known.update(**again):
        RefusedReport.objects.bulk_create(
            [RefusedReport(merchant=merchant, digest=digest, reported_by=actor, **content)], ignore_conflicts=True
        )


def purge_refusals() -> None:
    delete_in_batches(RefusedReport.objects.filter(last_at__lt=Now() - REFUSAL_RETENTION).order_by("last_at"))
