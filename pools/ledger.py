"""The ledger of key movements, written by the database: who moved keys, and the stock by day."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, timedelta

from django.db import connection, transaction
from django.db.models import Sum
from django.utils import timezone

from pools.models import LicensePool

# Older changes are kept by month.
DAYS_KEPT = 100

# One statement, so every snapshot has either the folded rows or their sums. Rows that another fold holds are skipped.
FOLD = """
WITH change AS (
    SELECT *, CASE WHEN day < %(day)s THEN date_trunc('month', day)::date ELSE day END AS period
    FROM pools_stockchange
), crowded AS (
    SELECT pool_id, period FROM change GROUP BY pool_id, period HAVING count(*) > 1
), locked AS (
    SELECT id FROM pools_stockchange
    WHERE id IN (SELECT id FROM change JOIN crowded USING (pool_id, period)) FOR UPDATE SKIP LOCKED
), folded AS (
    DELETE FROM pools_stockchange WHERE id IN (SELECT id FROM locked) RETURNING *
)
INSERT INTO pools_stockchange (pool_id, day, available, reserved, issued, withdrawn, added, sold)
SELECT pool_id, CASE WHEN day < %(day)s THEN date_trunc('month', day)::date ELSE day END,
    sum(available), sum(reserved), sum(issued), sum(withdrawn), sum(added), sum(sold)
FROM folded GROUP BY 1, 2
"""


@contextmanager
def moved_by(actor: str) -> Iterator[None]:
    """Run the block in a transaction and record `actor` in the ledger for the keys that it moves."""
    with transaction.atomic():
        _set_actor(actor)
        yield
        _set_actor("")


def _set_actor(actor: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('keywell.actor', %s, true)", [actor])


@dataclass(frozen=True)
class StockDay:
    """The changes to a pool's available keys on one day, in UTC."""

    date: date
    stock: int  # at the end of the day, or now
    added: int
    issued: int
    taken_out: int  # withdrawn, undone or reserved


def stock_by_day(pool: LicensePool, available: int, days: int) -> list[StockDay]:
    """Return the last `days` days, today last, calculated backward from the keys `available` now."""
    today = timezone.now().astimezone(UTC).date()
    changes = pool.changes.filter(day__gt=today - timedelta(days=days)).order_by()
    sums = changes.values("day").annotate(Sum("available"), Sum("added"), Sum("sold"))
    by_day = {sums_of_day["day"]: sums_of_day for sums_of_day in sums}

    history = []
    for age in range(days):
        day = today - timedelta(days=age)
        moved = by_day.get(day, {"available__sum": 0, "added__sum": 0, "sold__sum": 0})
        added, issued, change = moved["added__sum"], moved["sold__sum"], moved["available__sum"]
        history.append(StockDay(day, available, added, issued, taken_out=added - change - issued))
        available -= change
    return history[::-1]


def fold_changes() -> None:
    """Replace changes of a day by their sum, so that reading a pool's numbers stays fast."""
    day = timezone.now().astimezone(UTC).date() - timedelta(days=DAYS_KEPT)
    with connection.cursor() as cursor:
        cursor.execute(FOLD, {"day": day})
