"""How merchants are doing: their orders, servers and stock. Those with the most problems come first.

Each number counts what a filter of the admin lists, so that it can link there.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

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
from orders.models import Order, OrderQuerySet
from outbound.models import Upstream
from pools.models import LicensePool
from portal.sales import start_of
from portal.staff.navigation import list_url, may_view
from work import sql
from work.sql import PreparedQuery

PAGE = 15
MAX_COUNTED = 1000  # orders of a day

STATEMENT = """
    WITH troubled AS (
        SELECT owner, count(*) FILTER (WHERE about = 'order') AS stuck,
            array_agg(about) FILTER (WHERE about <> 'order') AS down
        FROM ({troubles}) AS trouble
        WHERE %(shown)s::jsonb ? about
        GROUP BY owner
    ), stock AS (
        SELECT merchant_id, count(*) FILTER (WHERE available <= 0) AS empty,
            count(*) FILTER (WHERE available > 0 AND available <= threshold) AS low
        FROM pools_licensepool AS pool
        JOIN (SELECT pool_id, sum(available) AS available FROM pools_stockchange GROUP BY pool_id) AS change
            ON change.pool_id = pool.id
        WHERE next_position > 0 AND %(shown)s::jsonb ? 'stock'
        GROUP BY merchant_id
    ), ranked AS (
        SELECT merchant.id, name, coalesce(stuck, 0) AS stuck, coalesce(down, '{{}}') AS down,
            coalesce(empty, 0) AS empty, coalesce(low, 0) AS low, count(*) OVER () AS total
        FROM merchants_merchant AS merchant
        LEFT JOIN troubled ON owner = merchant.id
        LEFT JOIN stock ON stock.merchant_id = merchant.id
        WHERE live_id IS NULL AND (%(merchant)s::bigint IS NULL OR merchant.id = %(merchant)s::bigint)
        ORDER BY stuck DESC, coalesce(cardinality(down), 0) DESC, empty DESC, low DESC, name, id
        LIMIT %(most)s::bigint OFFSET %(first)s::bigint
    )
    SELECT ranked.*, (
        SELECT count(*) FROM (
            SELECT FROM orders_order
            WHERE merchant_id = ranked.id AND paid_at >= %(midnight)s::timestamptz AND status = 'paid'
                AND %(shown)s::jsonb ? 'order'
            LIMIT %(counted)s::bigint
        ) AS paid
    ) AS today, latest.id AS latest_id, latest.paid_at AS latest
    FROM ranked
    LEFT JOIN LATERAL (
        SELECT id, paid_at FROM orders_order
        WHERE merchant_id = ranked.id AND paid_at IS NOT NULL AND %(shown)s::jsonb ? 'order'
        ORDER BY paid_at DESC, id DESC LIMIT 1
    ) AS latest ON true
    ORDER BY stuck DESC, cardinality(down) DESC, empty DESC, low DESC, name, ranked.id
"""


class Sight(NamedTuple):
    """What someone may see of merchants."""

    orders: bool
    servers: list[str]  # kinds
    stock: bool

    @property
    def shown(self) -> list[str]:
        return [*(["order"] if self.orders else []), *self.servers, *(["stock"] if self.stock else [])]


def read_sight(site: Any, request: Any) -> Sight:
    servers = [name for name, kind in Upstream.kinds().items() if may_view(site, request, kind)]
    return Sight(may_view(site, request, Order), servers, may_view(site, request, LicensePool))


@dataclass(frozen=True)
class Health:
    pk: int
    name: str
    stuck: int  # orders that need attention
    down: list[str]  # the kind of each server that gives no codes
    empty: int  # pools
    low: int
    today: int  # paid orders, counted up to MAX_COUNTED
    latest: datetime | None
    latest_id: int | None  # the order of the latest payment

    @property
    def state(self) -> str:
        if self.stuck or self.down or self.empty:
            return "failed"
        return "low" if self.low else "healthy"

    @property
    def servers(self) -> list[tuple[Any, int, str]]:
        """For each kind that is down: its name, how many, and their list."""
        kinds = [(Upstream.kinds()[name], number) for name, number in sorted(Counter(self.down).items())]
        return [
            (kind._meta.verbose_name_plural, number, f"{list_url(kind)}?attention=new&merchant__id__exact={self.pk}")
            for kind, number in kinds
        ]

    @property
    def is_cut(self) -> bool:
        return self.today == MAX_COUNTED


def read_health(sight: Sight, *, page: int = 1, merchant: int | None = None) -> tuple[list[Health], int]:
    """Return the merchants of a page, counted from 1, or one merchant, and the number of all. Takes one query.

    What someone may not see is 0 and doesn't affect the order.
    """
    rows = sql.run(
        _statement(),
        shown=sight.shown,
        merchant=merchant,
        most=PAGE,
        first=(page - 1) * PAGE,
        midnight=midnight(),
        counted=MAX_COUNTED,
    )
    total = rows[0].total if rows else 0
    return [
        Health(row.id, row.name, row.stuck, row.down, row.empty, row.low, row.today, row.latest, row.latest_id)
        for row in rows
    ], total


@cache
def _statement() -> str:
    return STATEMENT.format(troubles=read_troubles.statement)


def midnight() -> datetime:
    return start_of(timezone.localdate())


def paid_today(orders: OrderQuerySet) -> OrderQuerySet:
    return orders.filter(status=Order.Status.PAID, paid_at__gte=midnight())


def order_troubles() -> list[tuple[QuerySet[Any], str]]:
    """What a merchant's orders need a person for, with the lookup of the merchant.

    What could be mapped and what shops reported is missing: reading that of all merchants takes too long.
    """
    own = [(rows.filter(is_recent()), "merchant") for rows in (lost_deliveries(), late_deliveries(), held_orders())]
    return [(stuck_fulfillments().filter(is_recent()), "order__merchant"), *own]


def troubled(orders: OrderQuerySet) -> OrderQuerySet:
    first, *others = (rows.values_list("thing") for rows, _merchant in order_troubles())
    return orders.filter(pk__in=first.union(*others))


def server_troubles() -> dict[str, QuerySet[Any]]:
    """The servers that are down, by kind."""
    return {kind: rows.filter(is_recent()) for kind, rows in zip(Upstream.kinds(), down_upstreams(), strict=True)}


@PreparedQuery
def read_troubles() -> QuerySet[Any]:
    """Each order and each server that needs a person, once."""
    orders = [(rows, merchant, "order") for rows, merchant in order_troubles()]
    servers = [(rows, "merchant", kind) for kind, rows in server_troubles().items()]
    first, *others = (
        rows.order_by().annotate(owner=F(merchant), about=Value(about)).values("owner", "about", "thing")
        for rows, merchant, about in [*orders, *servers]
    )
    return first.union(*others)
