"""The ledger of key movements, written by the database: who moved keys, and the stock by day."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from pools.models import LicensePool, StockChange

# Older changes are kept by day, then by month. Forecasts need the hours of a month, charts the days of a quarter.
HOURS_KEPT, DAYS_KEPT = timedelta(days=32), timedelta(days=100)

START = (
    "date_trunc(CASE WHEN period < %(days)s THEN 'month' WHEN period < %(hours)s THEN 'day' ELSE 'hour' END,"
    " period, 'UTC')"
)
# One statement, so every snapshot has either the folded rows or their sums. Rows that another fold holds are skipped.
# It reads the table twice and joins by primary key only: PostgreSQL knows too little about a table that grows quickly
# to choose a good plan for more.
FOLD = f"""
WITH locked AS (
    SELECT id FROM pools_stockchange WHERE id IN (
        SELECT id FROM (
            SELECT id, count(*) OVER (PARTITION BY pool_id, {START}) AS changes FROM pools_stockchange
        ) AS counted WHERE changes > 1
    ) FOR UPDATE SKIP LOCKED
), folded AS (
    DELETE FROM pools_stockchange WHERE id IN (SELECT id FROM locked) RETURNING *
)
INSERT INTO pools_stockchange (pool_id, period, available, reserved, issued, withdrawn, added, sold)
SELECT pool_id, {START}, sum(available), sum(reserved), sum(issued), sum(withdrawn), sum(added), sum(sold)
FROM folded GROUP BY 1, 2
"""  # noqa: S608 (a constant)


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
    return stocks_by_day({pool: available}, days)[pool]


def stocks_by_day(stocks: Mapping[LicensePool, int], days: int) -> dict[LicensePool, list[StockDay]]:
    """Return the last `days` days of several pools, as `stock_by_day` does."""
    today = timezone.now().astimezone(UTC).date()
    start = datetime.combine(today - timedelta(days=days - 1), time.min, UTC)
    changes = StockChange.objects.filter(pool__in=list(stocks), period__gte=start).order_by()
    sums = changes.values("pool", day=TruncDate("period", tzinfo=UTC)).annotate(
        Sum("available"), Sum("added"), Sum("sold")
    )
    by_day = {(row["pool"], row["day"]): row for row in sums}
    dates = [today - timedelta(days=age) for age in range(days)]
    return {
        pool: _go_back(stock, [(day, by_day.get((pool.pk, day))) for day in dates]) for pool, stock in stocks.items()
    }


def _go_back(available: int, changes: list[tuple[date, Any]]) -> list[StockDay]:
    history = []
    for day, moved in changes:
        sums = moved or {"available__sum": 0, "added__sum": 0, "sold__sum": 0}
        added, issued, change = sums["added__sum"], sums["sold__sum"], sums["available__sum"]
        history.append(StockDay(day, available, added, issued, taken_out=added - change - issued))
        available -= change
    return history[::-1]


def fold_changes() -> None:
    """Replace the changes of an hour, day or month with their sum, so that reading a pool's numbers stays fast."""
    midnight = timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with connection.cursor() as cursor:
        cursor.execute(FOLD, {"hours": midnight - HOURS_KEPT, "days": midnight - DAYS_KEPT})
