"""Pages found by where the last one ended, which is as fast at the end of a long list as at its start."""

import re
from datetime import UTC, datetime, timedelta

from django.db.models import Q

from orders.models import Order, OrderQuerySet

PAGE_SIZE = 50
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class KeysetPage:
    """Orders, last reported first, on one page. Its cursors are for the query parameters `before` and `after`."""

    def __init__(self, orders: OrderQuerySet, *, before: str = "", after: str = "") -> None:
        backwards = bool(after) and not before
        position = parse_cursor(after if backwards else before)
        if position is not None:
            orders = _beyond(orders, position, backwards)
        rows = list(
            orders.order_by(*(("reported_at", "pk") if backwards else ("-reported_at", "-pk")))[: PAGE_SIZE + 1]
        )
        more, rows = len(rows) > PAGE_SIZE, rows[:PAGE_SIZE]
        if backwards:
            rows.reverse()

        self.orders: list[Order] = rows
        self.older = make_cursor(rows[-1]) if rows and (more or backwards) else ""
        self.newer = make_cursor(rows[0]) if rows and position is not None and (more or not backwards) else ""


def _beyond(orders: OrderQuerySet, position: tuple[datetime, int], backwards: bool) -> OrderQuerySet:
    moment, pk = position
    # The first condition is one that an index can start from.
    if backwards:
        return orders.filter(Q(reported_at__gt=moment) | Q(pk__gt=pk), reported_at__gte=moment)
    return orders.filter(Q(reported_at__lt=moment) | Q(pk__lt=pk), reported_at__lte=moment)


def make_cursor(order: Order) -> str:
    return f"{(order.reported_at - EPOCH) // timedelta(microseconds=1)}-{order.pk}"


def parse_cursor(text: str) -> tuple[datetime, int] | None:
    """What a cursor says, or None if it is none: somebody has changed the address."""
    match = re.fullmatch(r"(\d{1,16})-(\d{1,18})", text, re.ASCII)
    return (EPOCH + timedelta(microseconds=int(match[1])), int(match[2])) if match else None
