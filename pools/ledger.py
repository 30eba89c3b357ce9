"""The ledger of key movements, written by the database: who moved keys, and the stock by day."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db import connection, transaction
from django.db.models import Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from pools.models import KeyMovement, LicensePool


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
    Place = KeyMovement.Place
    today = timezone.now().astimezone(UTC).date()
    start = today - timedelta(days=days - 1)
    moved: dict[date, Counter[tuple[str, str]]] = defaultdict(Counter)
    for day, origin, destination, count in (
        pool.movements.filter(moved_at__gte=datetime.combine(start, time.min, UTC))
        .values_list(TruncDate("moved_at", tzinfo=UTC), "origin", "destination")
        .annotate(Sum("count"))
        .order_by()
    ):
        moved[day][origin, destination] += count

    history = []
    for age in range(days):
        day = today - timedelta(days=age)
        added = sum(count for (_, destination), count in moved[day].items() if destination == Place.AVAILABLE)
        left = sum(count for (origin, _), count in moved[day].items() if origin == Place.AVAILABLE)
        issued = moved[day][Place.AVAILABLE, Place.ISSUED]
        history.append(StockDay(day, available, added, issued, taken_out=left - issued))
        available += left - added
    return history[::-1]
