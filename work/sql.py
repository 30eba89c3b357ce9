"""Runs statements written in SQL, where the ORM would take longer to compose them than PostgreSQL to execute them."""

import re
from collections.abc import Callable
from functools import cached_property
from inspect import signature
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, models


def run(statement: str, **parameters: Any) -> list[Any]:
    """Execute a statement with named parameters and return its rows as named tuples.

    The statement is prepared once per connection, so its text must not change. Cast each parameter whose type
    PostgreSQL can't infer, and name each column. Lists become JSON for `json_to_recordset`: one parameter instead of
    an array for each column.
    """
    rows: list[Any] = connection.run_prepared(statement, parameters)  # type: ignore[attr-defined]
    return rows


def run_first(statement: str, **parameters: Any) -> list[Any]:
    """Execute the first statement of a request as `run` does, and repeat it if the connection is lost.

    It must only read. PostgreSQL may have restarted since the last request.
    """
    rows: list[Any] = connection.run_prepared(statement, parameters, is_first=True)  # type: ignore[attr-defined]
    return rows


def run_after_commit(use: Callable[[list[Any]], None], statement: str, **parameters: Any) -> None:
    """Execute a statement as `run` does, after the transaction, and call `use` with its rows. An error is logged.

    It is sent along with COMMIT and sees what the transaction and those before it committed.
    """
    connection.run_after_commit(statement, parameters, use)  # type: ignore[attr-defined]


def columns(model: type[models.Model], table: str) -> str:
    """Return a model's columns for a SELECT, each named `table__column`."""
    return ", ".join(f'{table}."{field.column}" AS {table}__{field.column}' for field in model._meta.concrete_fields)


def build(model: type[models.Model], row: Any, start: int = 0) -> Any:
    """Return the instance whose `columns` are in a row, beginning with the one at position `start`."""
    fields = model._meta.concrete_fields
    values = [
        field.from_db_value(value, None, connection) if hasattr(field, "from_db_value") else value
        for field, value in zip(fields, row[start : start + len(fields)], strict=True)
    ]
    return model.from_db(DEFAULT_DB_ALIAS, [field.attname for field in fields], values)


class PreparedQuery:
    """A queryset that the ORM composes once per process; from then on, its statement runs as in `run`.

    `build` makes the queryset from its parameters, annotated as int, str or bytes. Everything else is fixed at the
    first call: use Now(), not Python's clock.
    """

    # Placeholders for the parameters while the statement is composed.
    NUMBER, TEXT = 7_310_000_000_000_000_000, "parameter number {}"
    TYPES = {int: "bigint", str: "text", bytes: "bytea"}

    def __init__(self, build: Callable[..., models.QuerySet[Any, Any]]) -> None:
        self.build = build

    @cached_property
    def statement(self) -> str:
        types = {name: kind.annotation for name, kind in signature(self.build).parameters.items()}
        values = {name: self._placeholder(number, kind) for number, (name, kind) in enumerate(types.items())}
        query, parameters = self.build(**values).query.sql_with_params()
        composed: str = connection.ops.compose_sql(query, parameters)  # type: ignore[attr-defined]
        composed = composed.replace("%", "%%")
        for name, value in values.items():
            literal = value.hex() if isinstance(value, bytes) else value
            pattern = rf"\b{literal}\b" if isinstance(value, int) else rf"'(\\x)?{literal}'(::bytea)?"
            composed, count = re.subn(pattern, f"%({name})s::{self.TYPES[types[name]]}", composed)
            if not count:
                raise ValueError(f"The query has to use its parameter {name!r} as it is.")
        return composed

    def _placeholder(self, number: int, kind: type) -> Any:
        text = self.TEXT.format(number)
        return self.NUMBER + number if kind is int else kind(text, "ascii") if kind is bytes else text

    def __call__(self, **parameters: Any) -> list[Any]:
        """Run the statement with these values and return its rows as named tuples."""
        return run(self.statement, **parameters)
