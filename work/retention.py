"""Deletes rows of logs that were kept long enough."""

from time import monotonic

from django.db.models import QuerySet

BATCH_SIZE = 500
# Seconds per table and sweep. The next sweep continues.
DELETE_TIMEOUT = 1


def delete_in_batches(rows: QuerySet) -> None:
    """Delete rows in their order, in transactions so small that nothing waits for them."""
    until = monotonic() + DELETE_TIMEOUT
    while monotonic() < until:
        pks = list(rows.values_list("pk", flat=True)[:BATCH_SIZE])
        rows.model._base_manager.filter(pk__in=pks).delete()
        if len(pks) < BATCH_SIZE:
            return
