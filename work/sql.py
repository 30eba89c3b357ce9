"""Runs statements written in SQL, where the ORM would take longer to compose them than PostgreSQL to execute them."""

from collections.abc import Callable
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
