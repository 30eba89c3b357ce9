from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, floor, inf

from django.db.models import Count, F, QuerySet
from django.utils import timezone
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from fulfillment.models import Fulfillment
from merchants.models import Merchant
from pools.models import LicensePool
from pools.replenishment import DAY, Forecast, forecasts
from work.sql import PreparedQuery

EMPTY, LOW, HEALTHY = "empty", "low", "healthy"
GENERATED = "generated"  # codes of a test pool
NEW = "new"  # never filled, and nobody waits for its keys


@dataclass(frozen=True)
class Stock:
    pool: LicensePool
    available: int
    reserved: int
    forecast: Forecast
    waiting: int  # orders

    @property
    def state(self) -> str:
        if not self.available:
            if self.pool.generates_codes:
                return GENERATED
            return EMPTY if self.pool.next_position or self.waiting else NEW
        return LOW if self.available <= self.pool.threshold else HEALTHY

    @property
    def lasts(self) -> str:
        """The range of the forecast in words; empty if the pool is empty."""
        if not self.available:
            return ""
        if not self.forecast.is_reliable:
            return gettext("not enough sales")
        return spell_range(self.forecast.earliest, self.forecast.latest)

    @property
    def runs_out(self) -> tuple[datetime, datetime | None] | None:
        """The range of times when the last key will be issued. The latest is None if it is 10 years away."""
        earliest, latest = self.forecast.earliest, self.forecast.latest
        if not (self.available and self.forecast.is_reliable and earliest is not None):
            return None
        now = timezone.now()
        return now + earliest, now + latest if latest is not None else None

    @property
    def urgency(self) -> tuple:
        """Sort key for the pools that need keys first: empty, low, new, healthy; then by waiting orders and time."""
        earliest = self.forecast.earliest
        return (
            [EMPTY, LOW, NEW, HEALTHY, GENERATED].index(self.state),
            -self.waiting,
            inf if earliest is None else earliest / DAY,
            self.pool.name,
        )


# Ranges use the largest unit of which the near end has at least one and the far end at least three.
UNITS = {"years": 365.25, "months": 30.44, "days": 1, "hours": 1 / 24}  # days
RANGES = {
    "years": _("{least} to {most} years"),
    "months": _("{least} to {most} months"),
    "days": _("{least} to {most} days"),
    "hours": _("{least} to {most} hours"),
}
OR_MORE = {
    "years": ngettext_lazy("%(count)d year or more", "%(count)d years or more", "count"),
    "months": ngettext_lazy("%(count)d month or more", "%(count)d months or more", "count"),
    "days": ngettext_lazy("%(count)d day or more", "%(count)d days or more", "count"),
    "hours": ngettext_lazy("%(count)d hour or more", "%(count)d hours or more", "count"),
}


def spell_range(earliest: timedelta | None, latest: timedelta | None) -> str:
    if earliest is None:
        return gettext("more than 10 years")
    start, end = earliest / DAY, (earliest if latest is None else latest) / DAY
    unit = next((unit for unit, days in UNITS.items() if start >= days and end >= 3 * days), "hours")
    least = floor(start / UNITS[unit])
    if latest is None:
        return OR_MORE[unit] % {"count": least}
    return str(RANGES[unit]).format(least=least, most=max(ceil(end / UNITS[unit]), least + 1))


def get_stock(merchant: Merchant) -> list[Stock]:
    pools = list(merchant.pools.with_stock())
    if not pools:
        return []
    forecast = forecasts({pool: pool.available for pool in pools})
    waiting = dict(read_waiting(merchant=merchant.pk))
    rows = [
        Stock(pool, pool.available, pool.in_reserve, forecast[pool], waiting.get(pool.live_id or pool.pk, 0))
        for pool in pools
    ]
    return sorted(rows, key=lambda row: row.urgency)


@PreparedQuery
def read_waiting(merchant: int) -> QuerySet:
    """The number of waiting orders of each pool; of a test pool, by its live pool."""
    waiting = Fulfillment.objects.waiting().filter(order__merchant=merchant)
    by_pool = waiting.order_by().values(pool=F("item__product__fulfillment_methods__poolmethod__pool"))
    return by_pool.annotate(orders=Count("order", distinct=True))
