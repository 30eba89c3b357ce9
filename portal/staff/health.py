"""How merchants are doing: their orders, servers and stock. Those with the most problems come first."""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from django.db.models import F, QuerySet, Value
from django.utils import timezone

from fulfillment.attention import (
    down_upstreams,
    held_orders,
    is_recent,
    late_deliveries,
    lost_deliveries,
    stuck_fulfillments,
)
from portal.sales import start_of
from work import sql
from work.sql import PreparedQuery

PAGE = 15
MAX_COUNTED = 1000  # orders of a day

STATEMENT = """
    WITH troubled AS (
        SELECT owner, count(*) FILTER (WHERE about = 'order') AS stuck,
            count(*) FILTER (WHERE about = 'server') AS down
        FROM ({troubles}) AS trouble
        GROUP BY owner
    ), stock AS (
        SELECT merchant_id, count(*) FILTER (WHERE available <= 0) AS empty,
            count(*) FILTER (WHERE available > 0 AND available <= threshold) AS low
        FROM pools_licensepool AS pool
        JOIN (SELECT pool_id, sum(available) AS available FROM pools_stockchange GROUP BY pool_id) AS change
            ON change.pool_id = pool.id
        WHERE next_position > 0
        GROUP BY merchant_id
    ), ranked AS (
        SELECT merchant.id, name, coalesce(stuck, 0) AS stuck, coalesce(down, 0) AS down, coalesce(empty, 0) AS empty,
            coalesce(low, 0) AS low, count(*) OVER () AS total
        FROM merchants_merchant AS merchant
        LEFT JOIN troubled ON owner = merchant.id
        LEFT JOIN stock ON stock.merchant_id = merchant.id
        WHERE live_id IS NULL
        ORDER BY stuck DESC, down DESC, empty DESC, low DESC, name, id
        LIMIT %(most)s::bigint OFFSET %(first)s::bigint
    )
    SELECT ranked.*, (
        SELECT count(*) FROM (
            SELECT FROM orders_order
            WHERE merchant_id = ranked.id AND paid_at >= %(midnight)s::timestamptz AND status = 'paid'
            LIMIT %(counted)s::bigint
        ) AS paid
    ) AS today, (SELECT max(paid_at) FROM orders_order WHERE merchant_id = ranked.id) AS latest
    FROM ranked
    ORDER BY stuck DESC, down DESC, empty DESC, low DESC, name, id
"""


@dataclass(frozen=True)
class Health:
    pk: int
    name: str
    stuck: int  # orders that need attention
    down: int  # servers that give no codes
    empty: int  # pools
    low: int
    today: int  # paid orders, counted up to MAX_COUNTED
    latest: datetime | None

    @property
    def state(self) -> str:
        if self.stuck or self.down or self.empty:
            return "failed"
        return "low" if self.low else "healthy"

    @property
    def is_cut(self) -> bool:
        return self.today == MAX_COUNTED


def read_health(page: int) -> tuple[list[Health], int]:
    """Return the merchants of a page, counted from 1, and the number of all. Takes one query."""
    rows = sql.run(
        _statement(),
        most=PAGE,
        first=(page - 1) * PAGE,
        midnight=start_of(timezone.localdate()),
        counted=MAX_COUNTED,
    )
    total = rows[0].total if rows else 0
    return [
        Health(row.id, row.name, row.stuck, row.down, row.empty, row.low, row.today, row.latest) for row in rows
    ], total


@cache
def _statement() -> str:
    return STATEMENT.format(troubles=read_troubles.statement)


@PreparedQuery
def read_troubles() -> QuerySet[Any]:
    """Each order and each server that needs a person, once.

    What could be mapped and what shops reported is missing: reading that of all merchants takes too long.
    """
    owners: dict[str, list[QuerySet[Any]]] = {
        "order__merchant": [stuck_fulfillments()],
        "merchant": [lost_deliveries(), late_deliveries(), held_orders()],
    }
    orders = [(rows, owner, "order") for owner, kinds in owners.items() for rows in kinds]
    servers = [(rows, "merchant", "server") for rows in down_upstreams()]
    first, *others = (
        rows.filter(is_recent())
        .order_by()
        .annotate(owner=F(owner), about=Value(about))
        .values("owner", "about", "thing")
        for rows, owner, about in [*orders, *servers]
    )
    return first.union(*others)
