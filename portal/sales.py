"""What a merchant sold: today, yesterday until the same time of day, and on each of the last 30 days."""

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.core.cache import cache
from django.utils import timezone

from merchants.models import Merchant
from work import sql

DAYS = 30
# Full days change only when a payment is reported late or an order is deleted.
CACHED_FOR = timedelta(minutes=15)
# Deliveries are measured for the newest orders of the day.
MAX_MEASURED = 1000

# Orders with licenses, by currency; and in how many seconds the newest ones were delivered.
TODAY = """
    WITH recent AS MATERIALIZED (
        SELECT id, currency, reported_at, paid_at, paid_at >= %(midnight)s::timestamptz AS is_today
        FROM orders_order
        WHERE merchant_id = %(merchant)s::bigint AND status = 'paid'
            AND (paid_at >= %(midnight)s::timestamptz
                OR paid_at >= %(yesterday)s::timestamptz AND paid_at < %(until)s::timestamptz)
    ), sold AS (
        SELECT is_today, currency, count(*) AS orders, sum(units) AS licenses, sum(total) AS total
        FROM recent CROSS JOIN LATERAL (
            SELECT sum(item.units) AS units, sum(item.total_price) AS total FROM orders_orderitem item
            WHERE item.order_id = recent.id
        ) AS item
        WHERE units IS NOT NULL
        GROUP BY is_today, currency
    ), measured AS (
        SELECT is_today, extract(epoch FROM sent_at - reported_at) AS seconds
        FROM (
            (SELECT * FROM recent WHERE is_today ORDER BY paid_at DESC LIMIT %(most)s::bigint)
            UNION ALL (SELECT * FROM recent WHERE NOT is_today ORDER BY paid_at DESC LIMIT %(most)s::bigint)
        ) AS newest CROSS JOIN LATERAL (
            SELECT min(sent_at) AS sent_at FROM delivery_delivery delivery
            WHERE delivery.order_id = newest.id AND kind = 'automatic'
        ) AS delivery
        WHERE sent_at IS NOT NULL
    )
    SELECT is_today, currency, orders, licenses::bigint, total, NULL::float AS median, NULL::float AS p99 FROM sold
    UNION ALL
    SELECT is_today, NULL, count(*), 0, 0, percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds),
        percentile_cont(0.99) WITHIN GROUP (ORDER BY seconds)
    FROM measured GROUP BY is_today
"""
BY_DAY = """
    SELECT (paid_at AT TIME ZONE %(zone)s)::date AS day, count(*) AS orders FROM orders_order
    WHERE merchant_id = %(merchant)s::bigint AND status = 'paid'
        AND paid_at >= %(start)s::timestamptz AND paid_at < %(midnight)s::timestamptz
        AND EXISTS (SELECT FROM orders_orderitem item WHERE item.order_id = orders_order.id)
    GROUP BY day
"""


@dataclass
class Figures:
    """What was sold in a period. Times from the report of an order until its e-mail was sent are in seconds."""

    orders: int = 0
    licenses: int = 0
    totals: dict[str, Decimal] = field(default_factory=dict)  # by currency, the most frequent first
    median: float | None = None
    p99: float | None = None


def read_today(merchant: Merchant) -> tuple[Figures, Figures]:
    """Return the figures of today, and of yesterday until the same time, in the current time zone."""
    now = timezone.localtime()
    a_day = timedelta(days=1)
    midnight, yesterday, until = start_of(now.date()), start_of(now.date() - a_day), now - a_day
    rows = sql.run(TODAY, merchant=merchant.pk, midnight=midnight, yesterday=yesterday, until=until, most=MAX_MEASURED)
    return make_figures(row for row in rows if row.is_today), make_figures(row for row in rows if not row.is_today)


def make_figures(rows: Any) -> Figures:
    figures = Figures()
    for row in sorted(rows, key=lambda row: row.orders, reverse=True):
        if row.currency is None:
            figures.median, figures.p99 = row.median, row.p99
        else:
            figures.orders += row.orders
            figures.licenses += row.licenses
            figures.totals[row.currency] = row.total
    return figures


def read_days(merchant: Merchant, today: int) -> list[tuple[date, int]]:
    """Return the last 30 days with their numbers of paid orders. Of the last one, there were `today`."""
    last = timezone.localdate()
    key = f"orders-by-day:{merchant.pk}:{timezone.get_current_timezone_name()}:{last}"
    counts = cache.get(key)
    if counts is None:
        counts = count_days(merchant, last)
        cache.set(key, counts, CACHED_FOR.total_seconds())
    days = [last - timedelta(days=age) for age in range(DAYS - 1, 0, -1)]
    return [*((day, counts.get(day, 0)) for day in days), (last, today)]


def count_days(merchant: Merchant, last: date) -> dict[date, int]:
    zone, start = timezone.get_current_timezone_name(), start_of(last - timedelta(days=DAYS - 1))
    rows = sql.run(BY_DAY, merchant=merchant.pk, zone=zone, start=start, midnight=start_of(last))
    return {row.day: row.orders for row in rows}


def start_of(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


@dataclass(frozen=True)
class Bars:
    """A chart of the orders of each day. Shapes have coordinates from 0 to 100, which the template scales."""

    days: list[tuple[date, int]]

    @property
    def most(self) -> int:
        return max(1, *(count for _day, count in self.days))

    @property
    def shapes(self) -> list[tuple[float, float, float, float]]:
        """The position, width and height of each bar."""
        step = 100 / len(self.days)
        heights = [(number, 100 * count / self.most) for number, (_day, count) in enumerate(self.days)]
        return [
            (round((number + 0.15) * step, 2), round(100 - height, 2), round(0.7 * step, 2), round(height, 2))
            for number, height in heights
        ]

    @property
    def total(self) -> int:
        return sum(count for _day, count in self.days)

    @property
    def week(self) -> int:
        """The orders of the last seven days, with today."""
        return sum(count for _day, count in self.days[-7:])

    @property
    def week_before(self) -> int:
        return sum(count for _day, count in self.days[-14:-7])
