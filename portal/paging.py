"""Keyset pagination: late pages of a long list load as fast as the first."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import DateTimeField, Model, Q, QuerySet

PAGE_SIZE = 25
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Position = tuple[datetime | int, int]  # a row's value of the field, and its primary key


class KeysetPage:
    """A page of rows, newest first by a datetime or integer field. Its cursors are for the query parameters
    `before` and `after`.
    """

    def __init__(self, queryset: QuerySet, field: str = "reported_at", *, before: str = "", after: str = "") -> None:
        backwards = bool(after) and not before
        is_time = isinstance(queryset.model._meta.get_field(field), DateTimeField)
        position = parse_cursor(after if backwards else before, is_time=is_time)
        rows = self.read(queryset, field, position, backwards)
        more, rows = len(rows) > PAGE_SIZE, rows[:PAGE_SIZE]
        if backwards:
            rows.reverse()

        self.field = field
        self.rows = rows
        self.older = make_cursor(rows[-1], field) if rows and (more or backwards) else ""
        self.newer = make_cursor(rows[0], field) if rows and position is not None and (more or not backwards) else ""

    def read(self, queryset: QuerySet, field: str, position: Position | None, backwards: bool) -> list[Any]:
        """Return the rows from the position on, in the direction of reading, and one more than a page has."""
        if position is not None:
            queryset = _beyond(queryset, field, position, backwards)
        ordered = queryset.order_by(field, "pk") if backwards else queryset.order_by(f"-{field}", "-pk")
        return list(ordered[: PAGE_SIZE + 1])


def _beyond(queryset: QuerySet, field: str, position: Position, backwards: bool) -> QuerySet:
    value, pk = position
    beyond = "gt" if backwards else "lt"
    # The second condition is redundant, but an index can use it.
    return queryset.filter(
        Q(**{f"{field}__{beyond}": value}) | Q(**{f"pk__{beyond}": pk}), **{f"{field}__{beyond}e": value}
    )


def make_cursor(row: Model, field: str) -> str:
    value = getattr(row, field)
    number = (value - EPOCH) // timedelta(microseconds=1) if isinstance(value, datetime) else value
    return f"{number}-{row.pk}"


def parse_cursor(text: str, *, is_time: bool) -> Position | None:
    """Parse a cursor; return None for an invalid one from an edited URL."""
    match = re.fullmatch(r"(-?\d{1,18})-(\d{1,18})", text, re.ASCII)
    if match is None:
        return None
    number, pk = int(match[1]), int(match[2])
    try:
        return EPOCH + timedelta(microseconds=number) if is_time else number, pk
    except OverflowError:
        return None
