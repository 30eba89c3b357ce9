"""Runs statements written in SQL, where the ORM would take longer to compose them than PostgreSQL to execute them."""

import json
import re
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

from django.db import connection, models


def run(statement: str, **parameters: Any) -> list[Any]:
    """Execute a statement with named parameters and return its rows as named tuples.

    PostgreSQL parses and plans a statement once per connection (runtime/postgresql/base.py). Cast a parameter whose
    type it can't infer. Lists become JSON: `json_to_recordset` takes one parameter instead of
    an array for each column, which psycopg takes long to convert.
    """
    values = {name: _ENCODER.encode(value) if isinstance(value, list) else value for name, value in parameters.items()}
    with connection.prepared() as cursor:  # type: ignore[attr-defined]
        cursor.execute(_compact(statement), values)
        if connection.queries_logged:
            # Django can't read it from this kind of cursor.
            connection.queries_log[-1]["sql"] = connection.ops.compose_sql(statement, values)  # type: ignore[attr-defined]
        return cursor.fetchall()


@cache
def _compact(statement: str) -> str:
    """Remove comments and indentation: psycopg parses a long statement again at every execution."""
    return " ".join(re.sub(r"(?m)^\s*--.*$", "", statement).split())


def _to_text(value: Any) -> str:
    """Return the text of a value that JSON can't hold, for PostgreSQL to read."""
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} can't be a parameter in a list.")


_ENCODER = json.JSONEncoder(default=_to_text, separators=(",", ":"))


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
    return model.from_db(connection.alias, [field.attname for field in fields], values)
