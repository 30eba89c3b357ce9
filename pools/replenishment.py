from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf, sqrt
from statistics import fmean, variance

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Subquery
from django.db.models.functions import ExtractDay, Now
from django.utils import timezone

from pools.models import LicenseKey, LicensePool
from pools.signals import stock_low


def check_stock(pool: LicensePool) -> None:
    """Tell the merchant, once a crossing, that the stock has come down to its threshold, or to nothing.

    To be called when keys taken are committed: only then does the last of several payments see what all have left.
    """
    if not _is_news(pool, _level(pool, _count(pool))):
        return

    with transaction.atomic():
        # One of many payments that cross the threshold together has the lock; it counts anew, for an import may have
        # been there. No payment waits for it: the sweep looks again.
        locked = LicensePool.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=pool.pk).first()
        if locked is None:
            return
        available = _count(locked)
        level = _level(locked, available)
        if _is_news(locked, level):
            locked.notified = level
            locked.save(update_fields=["notified"])
            stock_low.send(LicensePool, pool=locked, level=level, available=available)


def rearm(pool: LicensePool) -> None:
    """Forget notices that no longer hold, so that the next crossing is told again."""
    with transaction.atomic():
        locked = LicensePool.objects.select_for_update(no_key=True).get(pk=pool.pk)
        level = _level(locked, _count(locked))
        if LEVELS.index(level) < LEVELS.index(locked.notified):
            locked.notified = level
            locked.save(update_fields=["notified"])


# From bad to worse.
LEVELS: list[str] = [LicensePool.Notice.NONE, LicensePool.Notice.LOW, LicensePool.Notice.EMPTY]


def _count(pool: LicensePool) -> int:
    return pool.available_up_to(pool.threshold + 1)


def _level(pool: LicensePool, available: int) -> LicensePool.Notice:
    if not available:
        return LicensePool.Notice.EMPTY
    return LicensePool.Notice.LOW if available <= pool.threshold else LicensePool.Notice.NONE


def _is_news(pool: LicensePool, level: LicensePool.Notice) -> bool:
    return LEVELS.index(level) > LEVELS.index(pool.notified)


def warn_low_pools() -> None:
    """Catch crossings whose check was lost with its process.

    A pool that never issued a key is being set up, and is checked when an order wants its first one.
    """
    issued = LicenseKey.objects.filter(pool=OuterRef("pk"), item__isnull=False)
    for pool in LicensePool.objects.exclude(notified=LicensePool.Notice.EMPTY).filter(Exists(issued)):
        check_stock(pool)


DAY = timedelta(days=1)
WEEK, MONTH = 7, 30  # days
# Fewer sales than this in a month say nothing about the next.
ENOUGH = 5
YEARS = 3650  # days; what lasts longer has no end in sight
# How far the ends of the range lie from the mean, in standard deviations. As both rates have a say, it held the day on
# which the last key went in 83 to 95 of 100 simulated pools, on even days, with weekends and in bursts.
DEVIATIONS = 1.0


@dataclass(frozen=True)
class Rate:
    """What the last days tell of those to come: how many keys go, and how sure that is."""

    per_day: float
    days: float  # that it was observed for
    spread: float  # variance of what goes in a day, as a multiple of the mean; 1 is pure chance

    def demand(self, days: float, deviations: float) -> float:
        """How many keys go in so many days, off the mean by so many standard deviations."""
        # The days to come vary, and the rate itself is only known as well as the past days tell.
        noise = self.per_day * self.spread * (days + days**2 / self.days)
        return max(self.per_day * days + deviations * sqrt(noise), 0)

    def days_left(self, available: int, deviations: float) -> float:
        """When `demand` reaches the stock: the solution of that square equation."""
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
    """How fast a pool's keys go, and how long those that are `available` last."""

    available: int
    week: Rate
    month: Rate
    sold: int  # in the last 30 days

    @property
    def per_day(self) -> float:
        """Keys issued a day over the last week, or since the first one was."""
        return self.week.per_day

    @property
    def per_day_of_month(self) -> float:
        return self.month.per_day

    @property
    def can_tell(self) -> bool:
        """Whether there were enough sales for `earliest` and `latest` to mean something."""
        return self.sold >= ENOUGH

    @property
    def time_left(self) -> timedelta | None:
        """At the rate of the last week; None: nothing was issued in it, or the stock lasts for years."""
        return _duration(self.available / self.per_day if self.per_day else inf)

    @property
    def earliest(self) -> timedelta | None:
        """The near end of the range: at the rate of the last week or month, whichever is worse. None: years."""
        return _duration(min(rate.days_left(self.available, DEVIATIONS) for rate in (self.week, self.month)))

    @property
    def latest(self) -> timedelta | None:
        """The far end of the range. None: years."""
        return _duration(max(rate.days_left(self.available, -DEVIATIONS) for rate in (self.week, self.month)))

    def left_after(self, days: float) -> tuple[float, float]:
        """The range of what is left in so many days: the least and the most."""
        rates = (self.week, self.month)
        least = self.available - max(rate.demand(days, DEVIATIONS) for rate in rates)
        most = self.available - min(rate.demand(days, -DEVIATIONS) for rate in rates)
        return max(least, 0), max(most, 0)


def _duration(days: float) -> timedelta | None:
    return timedelta(days=days) if days < YEARS else None


def forecast(pool: LicensePool, available: int) -> Forecast:
    """How fast the pool's keys went over the last week and month, and when `available` of them will be gone.

    The range, which is right some nine times in ten, comes from the counts of the last 30 days: they are taken to vary
    as those of chance do (Poisson), or as much more as they did, weekends and campaigns included. Of both rates, the
    week's and the month's, it takes the worse end: a change of pace widens it.
    """
    return forecasts({pool: available})[pool]


def forecasts(stock: Mapping[LicensePool, int]) -> dict[LicensePool, Forecast]:
    issued = LicenseKey.objects.filter(pool__in=stock, item__isnull=False)
    counts: dict[int, Counter[int]] = defaultdict(Counter)
    for pool, days_ago, count in (
        issued.filter(issued_at__gt=Now() - MONTH * DAY)
        .values_list("pool", ExtractDay(Now() - F("issued_at")))
        .annotate(count=Count("*"))
        .order_by()
    ):
        counts[pool][days_ago] += count
    first = issued.filter(pool=OuterRef("pk")).order_by("issued_at").values("issued_at")[:1]
    firsts = LicensePool.objects.filter(pk__in=counts).values_list("pk", Subquery(first))
    begun_at = dict(firsts.order_by())
    return {pool: _forecast(available, counts[pool.pk], begun_at.get(pool.pk)) for pool, available in stock.items()}


def _forecast(available: int, counts: Counter[int], begun_at: datetime | None) -> Forecast:
    """From the number of keys issued by how many days ago that was; the first key of all was issued at `begun_at`."""
    # Less than a day tells nothing of what a day brings.
    age = max((timezone.now() - begun_at) / DAY, 1) if begun_at else MONTH
    daily = [counts[day] for day in range(int(min(age, MONTH)))]
    sold = counts.total()
    spread = max(variance(daily) / fmean(daily), 1) if len(daily) > 1 and any(daily) else 1

    def rate(period: int) -> Rate:
        days = min(age, period)
        return Rate(sum(counts[day] for day in range(period)) / days, days, spread)

    return Forecast(available=available, week=rate(WEEK), month=rate(MONTH), sold=sold)
