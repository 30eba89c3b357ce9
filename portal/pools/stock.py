from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, floor, inf

from django.db.models import Count
from django.utils import timezone

from fulfillment.models import Fulfillment
from merchants.models import Merchant
from pools.models import LicensePool
from pools.replenishment import DAY, Forecast, forecasts

EMPTY, LOW, HEALTHY = "empty", "low", "healthy"


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
            return EMPTY
        return LOW if self.available <= self.pool.threshold else HEALTHY

    @property
    def lasts(self) -> str:
        """The range of the forecast in words; empty if there is nothing that could last."""
        if not self.available:
            return ""
        if not self.forecast.can_tell:
            return "not enough sales to tell"
        return spell_range(self.forecast.earliest, self.forecast.latest)

    @property
    def runs_out(self) -> tuple[datetime, datetime | None] | None:
        """When the last key goes: the ends of the range, of which the far one may lie years ahead."""
        earliest, latest = self.forecast.earliest, self.forecast.latest
        if not (self.available and self.forecast.can_tell and earliest is not None):
            return None
        now = timezone.now()
        return now + earliest, now + latest if latest is not None else None

    @property
    def urgency(self) -> tuple:
        """Sorts those first that need keys first: empty ones for which orders wait, and then by when they will be."""
        earliest = self.forecast.earliest
        return (
            [EMPTY, LOW, HEALTHY].index(self.state),
            -self.waiting,
            inf if earliest is None else earliest / DAY,
            self.pool.name,
        )


# The unit that a range is told in: the largest of which its near end holds one, and its far end three.
UNITS = {"years": 365.25, "months": 30.44, "days": 1, "hours": 1 / 24}  # days


def spell_range(earliest: timedelta | None, latest: timedelta | None) -> str:
    if earliest is None:
        return "years"
    start, end = earliest / DAY, (earliest if latest is None else latest) / DAY
    unit = next((unit for unit, days in UNITS.items() if start >= days and end >= 3 * days), "hours")
    least = floor(start / UNITS[unit])
    if latest is None:
        return f"{least} {unit} or more"
    return f"{least} to {max(ceil(end / UNITS[unit]), least + 1)} {unit}"


def get_stock(merchant: Merchant) -> list[Stock]:
    pools = list(merchant.pools.with_stock())
    told = forecasts({pool: pool.available for pool in pools})
    waiting = count_waiting(merchant)
    stock = [Stock(pool, pool.available, pool.in_reserve, told[pool], waiting.get(pool.pk, 0)) for pool in pools]
    return sorted(stock, key=lambda one: one.urgency)


def count_waiting(merchant: Merchant) -> dict[int | None, int]:
    waiting = Fulfillment.objects.waiting().filter(item__order__merchant=merchant)
    by_pool = waiting.order_by().values_list("item__product__fulfillment_methods__poolmethod__pool")
    return dict(by_pool.annotate(Count("item__order", distinct=True)))
