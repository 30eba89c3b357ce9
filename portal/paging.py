"""Pages found by where the last one ended, which is as fast at the end of a long list as at its start."""

import re
from datetime import UTC, datetime, timedelta

from django.db.models import Q

from orders.models import Order, OrderQuerySet

PAGE_SIZE = 25
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class KeysetPage:
    """Orders, the last first by one of their times, on one page.

    Its cursors are for the query parameters `before` and `after`.
    """

    def __init__(
        self, orders: OrderQuerySet, field: str = "reported_at", *, before: str = "", after: str = ""
    ) -> None:
        backwards = bool(after) and not before
        position = parse_cursor(after if backwards else before)
        if position is not None:
            orders = _beyond(orders, field, position, backwards)
        ordered = orders.order_by(field, "pk") if backwards else orders.order_by(f"-{field}", "-pk")
        rows = list(ordered[: PAGE_SIZE + 1])
        more, rows = len(rows) > PAGE_SIZE, rows[:PAGE_SIZE]
        if backwards:
            rows.reverse()

        self.field = field
        self.orders: list[Order] = rows
        self.older = make_cursor(rows[-1], field) if rows and (more or backwards) else ""
        self.newer = make_cursor(rows[0], field) if rows and position is not None and (more or not backwards) else ""


def _beyond(orders: OrderQuerySet, field: str, position: tuple[datetime, int], backwards: bool) -> OrderQuerySet:
    moment, pk = position
    beyond = "gt" if backwards else "lt"
    # The second condition is one that an index can start from.
    return orders.filter(
        Q(**{f"{field}__{beyond}": moment}) | Q(**{f"pk__{beyond}": pk}), **{f"{field}__{beyond}e": moment}
    )


def make_cursor(order: Order, field: str) -> str:
    return f"{(getattr(order, field) - EPOCH) // timedelta(microseconds=1)}-{order.pk}"


def parse_cursor(text: str) -> tuple[datetime, int] | None:
    """What a cursor says, or None if it is none: somebody has changed the address."""
    match = re.fullmatch(r"(-?\d{1,18})-(\d{1,18})", text, re.ASCII)
    if match is None:
        return None
    try:
        return EPOCH + timedelta(microseconds=int(match[1])), int(match[2])
    except OverflowError:
        return None
