from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.db.models import Count, Min
from django.utils import timezone

from pools.models import LicensePool
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
    """How many keys are left, as far as the threshold asks."""
    return pool.available_up_to(pool.threshold + 1)


def _level(pool: LicensePool, available: int) -> LicensePool.Notice:
    if not available:
        return LicensePool.Notice.EMPTY
    return LicensePool.Notice.LOW if available <= pool.threshold else LicensePool.Notice.NONE


def _is_news(pool: LicensePool, level: LicensePool.Notice) -> bool:
    return LEVELS.index(level) > LEVELS.index(pool.notified)


def warn_low_pools() -> None:
    """Catch crossings whose check was lost with its process."""
    for pool in LicensePool.objects.exclude(notified=LicensePool.Notice.EMPTY):
        check_stock(pool)


RATE_PERIOD = timedelta(days=7)


@dataclass(frozen=True)
class Forecast:
    per_day: float  # keys issued a day
    time_left: timedelta | None  # None: nothing was issued lately, or the stock lasts for years


def forecast(pool: LicensePool, available: int) -> Forecast:
    """How fast the pool's keys went over the last week, or since the first of them, and how long `available` last."""
    now = timezone.now()
    issued = pool.keys.filter(item__isnull=False, issued_at__gte=now - RATE_PERIOD)
    lately = issued.aggregate(count=Count("pk"), first=Min("issued_at"))
    if not lately["count"]:
        return Forecast(per_day=0, time_left=None)

    # Less than a day tells nothing of what a day brings.
    days = max((now - lately["first"]) / timedelta(days=1), 1)
    per_day = lately["count"] / days
    days_left = available / per_day
    return Forecast(per_day=per_day, time_left=timedelta(days=days_left) if days_left < 3650 else None)
