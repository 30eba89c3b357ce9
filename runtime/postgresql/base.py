"""Django's PostgreSQL backend, with prepared statements and cheaper checks of persistent connections.

Django's CONN_HEALTH_CHECKS asks the server before the first query of each request, which costs a round trip. A
connection that answered a moment ago is most likely alive. If it isn't, the request gets a 503 as during an outage,
the caller repeats it, and Django replaces the connection.
"""

import json
import re
import time
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

import psycopg
from django.conf import settings
from django.db.backends.postgresql import base
from psycopg import pq
from psycopg.adapt import Transformer

# Seconds without a query after which a connection is checked before its next one.
IDLE_SECONDS = 5


class DatabaseWrapper(base.DatabaseWrapper):
    used_at = float("-inf")

    def close_if_health_check_failed(self) -> None:
        """Called before each query."""
        now = time.monotonic()
        if now - self.used_at < IDLE_SECONDS:
            self.health_check_done = True
        super().close_if_health_check_failed()
        self.used_at = now

    def distrust(self) -> None:
        """Check the connection before its next query, however short the pause."""
        self.used_at = float("-inf")

    def run_prepared(self, statement: str, values: Mapping[str, Any]) -> list[Any]:
        """Execute a statement that runs often and whose text never changes (work/sql.py).

        PostgreSQL parses and plans it once per connection. A cursor of psycopg would take as long in Python as
        PostgreSQL for the statement, so this uses the layer below (psycopg.pq).
        """
        self.close_if_health_check_failed()
        self.ensure_connection()
        self.validate_no_broken_transaction()
        start = time.monotonic()
        with self.wrap_database_errors:
            rows = _execute(self.connection, statement, values)
        if self.queries_logged:
            texts = {name: (_to_text(value) or b"").decode() for name, value in values.items()}
            sql = self.ops.compose_sql(statement, texts)
            self.queries_log.append({"sql": sql, "time": f"{time.monotonic() - start:.3f}"})
        return rows


def _execute(connection: psycopg.Connection[Any], statement: str, values: Mapping[str, Any]) -> list[Any]:
    query, names = _to_positional(statement)
    parameters: Any = [_to_text(values[name]) for name in names]
    server = connection.pgconn
    if not connection.autocommit and server.transaction_status == pq.TransactionStatus.IDLE:
        _check(connection, server.exec_(b"BEGIN"))
    if settings.PREPARED_STATEMENTS:
        result = server.exec_prepared(_prepare(connection, query), parameters)
    else:
        result = server.exec_params(query, parameters)
    _check(connection, result)
    transformer = Transformer(connection)
    transformer.set_pgresult(result)
    make_row = _row_type(query, tuple(result.fname(index) or b"" for index in range(result.nfields)))
    return transformer.load_rows(0, result.ntuples, make_row)


def _prepare(connection: Any, query: bytes) -> bytes:
    """Return the name of the prepared statement. It lives as long as its connection."""
    known: dict[bytes, bytes] = connection.__dict__.setdefault("keywell_statements", {})
    if query not in known:
        name = b"keywell_%d" % len(known)
        _check(connection, connection.pgconn.prepare(name, query))
        known[query] = name
    return known[query]


def _check(connection: psycopg.Connection[Any], result: Any) -> None:
    if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
        raise psycopg.errors.error_from_result(result, encoding=connection.info.encoding)


@cache
def _to_positional(statement: str) -> tuple[bytes, tuple[str, ...]]:
    """Replace %(name)s by $1, $2, ..., and remove comments and indentation. Return the names in order."""
    names: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        return f"${names.setdefault(found[1], len(names) + 1)}" if found[1] else "%"

    compact = " ".join(re.sub(r"(?m)^\s*--.*$", "", statement).split())
    return re.sub(r"%\((\w+)\)s|%%", number, compact).encode(), tuple(names)


@cache
def _row_type(query: bytes, names: tuple[bytes, ...]) -> Callable[[Iterable[Any]], tuple[Any, ...]]:
    make: Callable[[Iterable[Any]], tuple[Any, ...]] = namedtuple("Row", map(bytes.decode, names))._make  # type: ignore
    return make


def _to_text(value: Any) -> bytes | None:
    """Return the text of a value for PostgreSQL to read. Lists become JSON."""
    if value is None:
        return None
    if isinstance(value, list):
        value = _ENCODER.encode(value)
    elif not isinstance(value, str):
        value = str(value) if isinstance(value, int) else _plain(value)
    return str(value).encode()


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} can't be a parameter.")


_ENCODER = json.JSONEncoder(default=_plain, separators=(",", ":"))
