from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf, sqrt
from statistics import fmean, variance
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from pools.models import LicenseKey, LicensePool
from pools.signals import stock_low
from work import sql

# Counts at most one key more than the threshold, so that the cost doesn't grow with the stock.
STOCK = """
    SELECT pool.id, pool.threshold, pool.notified, stock.available
    FROM pools_licensepool pool CROSS JOIN LATERAL (
        SELECT count(*) AS available FROM (
            SELECT FROM pools_licensekey
            WHERE pool_id = pool.id AND item_id IS NULL AND withdrawn_at IS NULL AND NOT reserved
                AND position >= pool.head_hint
            ORDER BY position LIMIT pool.threshold + 1
        ) AS key
    ) AS stock
    WHERE pool.id = ANY(ARRAY(SELECT json_array_elements_text(%(pools)s::json)::bigint))
"""

# The keys sold on each of the last 30 days, and when the pool's first key was issued. On average, a key was sold in
# the middle of its hour.
SALES = """
    WITH sales AS (
        SELECT pool_id AS pool, sum(sold)::bigint AS sold,
            extract(day FROM statement_timestamp() - (period + interval '30 minutes'))::integer AS days_ago
        FROM pools_stockchange
        WHERE pool_id = ANY(ARRAY(SELECT json_array_elements_text(%(pools)s::json)::bigint))
            AND period > statement_timestamp() - interval '30 days 30 minutes' AND sold > 0
        GROUP BY pool_id, days_ago
    ), first AS MATERIALIZED (
        SELECT pool, (
            SELECT issued_at FROM pools_licensekey WHERE pool_id = pool AND item_id IS NOT NULL
            ORDER BY issued_at LIMIT 1
        ) AS issued_at
        FROM (SELECT DISTINCT pool FROM sales) AS seller
    )
    SELECT sales.*, first.issued_at AS first_issued_at FROM sales JOIN first USING (pool)
"""


def check_stock(pools: Collection[int]) -> None:
    """Notify the merchant once when a pool's stock falls to the threshold, and once when the pool is empty.

    Transactions use `check_stock_after_commit`.
    """
    _notify_merchants(sql.run(STOCK, pools=list(pools)))


def check_stock_after_commit(pools: Collection[int]) -> None:
    """Check the stock after this transaction. Call it for each pool whose keys were issued or whose lock is held.

    Only after commit does the last of several concurrent payments see the effect of all of them. And a payment that
    met a pool's lock relies on the holder's check.
    """
    sql.run_after_commit(_notify_merchants, STOCK, pools=list(pools))


def _notify_merchants(stock: list[Any]) -> None:
    worse = [pool.id for pool in stock if _is_worse(pool, _level(pool, pool.available))]
    if notified := [pool for pool in worse if _notify(pool)]:
        check_stock(notified)


@transaction.atomic
def _notify(pool: int) -> bool:
    """Return False if another transaction has the pool's lock. Payments don't wait for it, and it checks when it ends.

    Of the payments that cross the threshold together, one gets the lock.
    """
    locked = LicensePool.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=pool).first()
    if locked is None:
        return False
    available = _count(locked)  # again, because an import may have committed
    level = _level(locked, available)
    if _is_worse(locked, level):
        locked.notified = level
        locked.save(update_fields=["notified"])
        stock_low.send(LicensePool, pool=locked, level=level, available=available)
    return True


def rearm(pool: LicensePool) -> None:
    """Reset outdated notices, so that the next crossing sends one again."""
    with transaction.atomic():
        locked = LicensePool.objects.select_for_update(no_key=True).get(pk=pool.pk)
        level = _level(locked, _count(locked))
        if LEVELS.index(level) < LEVELS.index(locked.notified):
            locked.notified = level
            locked.save(update_fields=["notified"])


# From good to bad.
LEVELS: list[str] = [LicensePool.Notice.NONE, LicensePool.Notice.LOW, LicensePool.Notice.EMPTY]


def _count(pool: LicensePool) -> int:
    return pool.available_up_to(pool.threshold + 1)


def _level(pool: Any, available: int) -> LicensePool.Notice:
    if not available:
        return LicensePool.Notice.EMPTY
    return LicensePool.Notice.LOW if available <= pool.threshold else LicensePool.Notice.NONE


def _is_worse(pool: Any, level: LicensePool.Notice) -> bool:
    return LEVELS.index(level) > LEVELS.index(pool.notified)


def warn_low_pools() -> None:
    """Catch crossings whose check was lost because its process died.

    Skips pools that never issued a key: they are still being set up, and the first order checks them.
    """
    issued = LicenseKey.objects.filter(pool=OuterRef("pk"), item__isnull=False)
    pools = LicensePool.objects.exclude(notified=LicensePool.Notice.EMPTY).filter(Exists(issued))
    check_stock(pools.values_list("pk", flat=True))


DAY, HOUR = timedelta(days=1), timedelta(hours=1)
WEEK, MONTH = 7, 30  # days
# Fewer sales than this in a month don't predict the next.
MIN_SALES = 5
MAX_FORECAST = 3650  # days; a stock that lasts longer has no end date
# The distance of the range's ends from the mean, in standard deviations. Because we combine two rates, the range
# contained the day of the last key in 83 to 95 of 100 simulated pools: with steady sales, weekends and bursts.
DEVIATIONS = 1.0


@dataclass(frozen=True)
class Rate:
    """The rate at which keys were issued, and how much it varied."""

    per_day: float
    days: float  # length of the observed period
    spread: float  # variance of the daily count as a multiple of its mean; 1 is a Poisson process

    def demand(self, days: float, deviations: float) -> float:
        """Keys issued in this many days, `deviations` standard deviations from the mean."""
        # Two sources of uncertainty: future days vary, and the rate is an estimate from a limited period.
        noise = self.per_day * self.spread * (days + days**2 / self.days)
        return max(self.per_day * days + deviations * sqrt(noise), 0)

    def days_left(self, available: int, deviations: float) -> float:
        """Days until `demand` reaches the stock: the solution of a quadratic equation."""
        noise = deviations**2 * self.per_day * self.spread
        a = self.per_day**2 - noise / self.days
        b = 2 * available * self.per_day + noise
        root = sqrt(b**2 - 4 * a * available**2)
        if not available:
            return 0
        if deviations > 0:
            return 2 * available**2 / (b + root) if b else inf
        return (b + root) / (2 * a) if a > 0 else inf


@dataclass(frozen=True)
class Forecast:
    """How fast a pool's keys are issued, and how long the `available` ones will last."""

    available: int
    week: Rate
    month: Rate
    sold: int  # in the last 30 days

    @property
    def per_day(self) -> float:
        """Keys issued per day over the last week, or since the first key was issued."""
        return self.week.per_day

    @property
    def per_day_of_month(self) -> float:
        return self.month.per_day

    @property
    def is_reliable(self) -> bool:
        """Whether there were enough sales for `earliest` and `latest` to mean something."""
        return self.sold >= MIN_SALES

    @property
    def time_left(self) -> timedelta | None:
        """At the rate of the last week. None if nothing was issued in it, or if the stock lasts 10 years."""
        return _duration(self.available / self.per_day if self.per_day else inf)

    @property
    def earliest(self) -> timedelta | None:
        """The near end of the range: at the rate of the last week or month, whichever is worse. None: 10 years."""
        return _duration(min(rate.days_left(self.available, DEVIATIONS) for rate in (self.week, self.month)))

    @property
    def latest(self) -> timedelta | None:
        """The far end of the range. None: 10 years."""
        return _duration(max(rate.days_left(self.available, -DEVIATIONS) for rate in (self.week, self.month)))

    def left_after(self, days: float) -> tuple[float, float]:
        """The lowest and highest number of keys that may be left after this many days."""
        rates = (self.week, self.month)
        least = self.available - max(rate.demand(days, DEVIATIONS) for rate in rates)
        most = self.available - min(rate.demand(days, -DEVIATIONS) for rate in rates)
        return max(least, 0), max(most, 0)


def _duration(days: float) -> timedelta | None:
    return timedelta(days=days) if days < MAX_FORECAST else None


def forecast(pool: LicensePool, available: int) -> Forecast:
    """Estimate from the sales of the last week and month when `available` keys will be gone.

    The range is right about nine times in ten. It is based on the keys sold on each of the last 30 days, counted by
    the hour and not including keys issued from the reserve: we assume that
    they vary like a Poisson process, or more if they did, for example because of weekends and campaigns. The range
    covers both the week's and the month's rate, so a change of pace widens it.
    """
    return forecasts({pool: available})[pool]


def forecasts(stock: Mapping[LicensePool, int]) -> dict[LicensePool, Forecast]:
    counts: dict[int, Counter[int]] = defaultdict(Counter)
    first_issued_at: dict[int, datetime | None] = {}
    for row in sql.run(SALES, pools=[pool.pk for pool in stock]):
        counts[row.pool][row.days_ago] = row.sold
        first_issued_at[row.pool] = row.first_issued_at
    return {
        pool: _forecast(available, counts[pool.pk], first_issued_at.get(pool.pk)) for pool, available in stock.items()
    }


def _forecast(available: int, counts: Counter[int], first_issued_at: datetime | None) -> Forecast:
    """Compute a forecast. `counts` maps days ago to issued keys; `first_issued_at` is when the first key was."""
    # At least a day, because sales of a few hours say little about a day.
    age = max((timezone.now() - first_issued_at) / DAY, 1) if first_issued_at else MONTH
    daily = [counts[day] for day in range(int(min(age, MONTH)))]
    sold = counts.total()
    spread = max(variance(daily) / fmean(daily), 1) if len(daily) > 1 and any(daily) else 1

    def rate(period: int) -> Rate:
        days = min(age, period)
        return Rate(sum(counts[day] for day in range(period)) / days, days, spread)

    return Forecast(available=available, week=rate(WEEK), month=rate(MONTH), sold=sold)
