"""Keeps refused reports for a while so that merchants can see them."""

import json
from datetime import timedelta

from django.db.models import F
from django.db.models.functions import Now

from merchants.models import Merchant
from orders.models import RefusedReport
from vault.fingerprints import fingerprint

REFUSAL_RETENTION = timedelta(days=30)
MAX_ERRORS = 20
DELETE_BATCH_SIZE = 5000


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
    old = RefusedReport.objects.filter(last_at__lt=Now() - REFUSAL_RETENTION).order_by("last_at")
    RefusedReport.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:DELETE_BATCH_SIZE])).delete()
