"""Django's PostgreSQL backend, with prepared statements and cheaper checks of persistent connections.

Django's CONN_HEALTH_CHECKS asks the server before the first query of each request, which costs a round trip. A
connection that answered a moment ago is most likely alive. If it isn't, the statement that finds a request's API key
is repeated over a new one. After any other statement the request gets a 503 as during an outage, the caller repeats
it, and Django replaces the connection.
"""

import json
import re
import select
import time
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, partial, update_wrapper
from typing import Any

import psycopg
from django.conf import settings
from django.db.backends.postgresql import base
from django.db.backends.postgresql.schema import DatabaseSchemaEditor
from django.db.backends.utils import debug_transaction
from psycopg import pq
from psycopg.adapt import Loader, Transformer

# Seconds without a query after which a connection is checked before its next one.
IDLE_SECONDS = 5

# A statement's name or text, and its parameters: None for BEGIN and COMMIT, which aren't prepared.
Message = tuple[bytes, list[bytes | None] | None]


class SchemaEditor(DatabaseSchemaEditor):
    """Waits for a table only shortly, because payments wait behind it. The command `migrate` tries again."""

    LOCK_TIMEOUT = "3s"

    def __enter__(self) -> Any:
        super().__enter__()
        if self.atomic_migration and not self.collect_sql:
            self.execute(f"SET LOCAL lock_timeout = '{self.LOCK_TIMEOUT}'", params=None)
        return self


class DatabaseWrapper(base.DatabaseWrapper):
    SchemaEditorClass = SchemaEditor
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

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        connection.adapters.register_loader("timestamptz", MomentLoader)
        # The statements that this session knows, by their texts.
        self.prepared: dict[str, Prepared] = {}
        self.transformer = Transformer(connection)
        return connection

    def on_commit(self, func: Callable[[], Any], robust: bool = False) -> None:
        if isinstance(func, partial):
            update_wrapper(func, func.func)  # Django logs the name of a function that fails, and partials have none.
        super().on_commit(func, robust)

    def run_prepared(self, statement: str, values: Mapping[str, Any], *, is_first: bool = False) -> list[Any]:
        """Execute a statement that runs often and whose text never changes (work/sql.py).

        PostgreSQL parses and plans it once per connection. A cursor of psycopg would take as long in Python as
        PostgreSQL for the statement, so this uses the layer below (psycopg.pq).

        The first statement of a request must only read. If the connection is lost, it is repeated over a new one.
        """
        self.close_if_health_check_failed()
        self.ensure_connection()
        self.validate_no_broken_transaction()
        start = time.monotonic()
        with self.wrap_database_errors:
            try:
                rows = self._run(statement, values)
            except psycopg.OperationalError:
                if not is_first or self.in_atomic_block or self.connection.pgconn.status != pq.ConnStatus.BAD:
                    raise
                self.close()
                self.connect()
                rows = self._run(statement, values)
        if self.queries_logged:
            self._log(statement, values, time.monotonic() - start)
        return rows

    def run_after_commit(self, statement: str, values: Mapping[str, Any], use: Callable[[list[Any]], None]) -> None:
        """Call `use` with the statement's rows after the transaction. An error is logged."""
        self.on_commit(AfterCommit(self, statement, values, use), robust=True)

    def _run(self, statement: str, values: Mapping[str, Any]) -> list[Any]:
        message = self._bind(statement, values)
        server = self.connection.pgconn
        if not self.connection.autocommit and server.transaction_status == pq.TransactionStatus.IDLE:
            _, result = self._exchange([[(b"BEGIN", None), message]])
        else:
            query, parameters = message
            execute = server.exec_prepared if settings.PREPARED_STATEMENTS else server.exec_params
            result = execute(query, parameters)
        return self._load(statement, result)

    def _commit(self) -> None:
        """Send COMMIT and what is to run after it in one round trip."""
        if self.connection is None or self.connection.pgconn.transaction_status == pq.TransactionStatus.IDLE:
            return
        with debug_transaction(self, "COMMIT"), self.wrap_database_errors:
            after = [entry[1] for entry in self.run_on_commit if isinstance(entry[1], AfterCommit)]
            if not after:
                self._check(self.connection.pgconn.exec_(b"COMMIT"))
                return
            messages = [self._bind(action.statement, action.values) for action in after]
            committed, *results = self._exchange([[(b"COMMIT", None)], *([message] for message in messages)])
            self._check(committed)
            for action, result in zip(after, results, strict=True):
                action.result = result

    def _exchange(self, groups: Sequence[Sequence[Message]]) -> list[Any]:
        """Send messages together and return their results. After an error, the rest of its group is skipped."""
        server = self.connection.pgconn
        server.enter_pipeline_mode()
        for group in groups:
            for query, parameters in group:
                if parameters is not None and settings.PREPARED_STATEMENTS:
                    server.send_query_prepared(query, parameters)
                else:
                    server.send_query_params(query, parameters)
            server.pipeline_sync()
        poll = select.poll()
        results, left = [], len(groups)
        while left:
            while server.is_busy():  # get_result() would keep other threads from running
                # A long message doesn't fit into the socket's buffer, so the rest has to follow.
                poll.register(server.socket, select.POLLIN | (select.POLLOUT if server.flush() else 0))
                poll.poll()
                server.consume_input()
            result = server.get_result()
            if result is not None and result.status == pq.ExecStatus.PIPELINE_SYNC:
                left -= 1
            elif result is not None:
                results.append(result)
        server.exit_pipeline_mode()
        return results

    def _bind(self, statement: str, values: Mapping[str, Any]) -> Message:
        known = self.prepared.get(statement)
        if known is None:
            query, names = _to_positional(statement)
            if settings.PREPARED_STATEMENTS:
                name = b"keywell_%d" % len(self.prepared)
                self._check(self.connection.pgconn.prepare(name, query))
                query = name
            known = self.prepared[statement] = Prepared(query, names)
        return known.query, [_to_text(values[name]) for name in known.names]

    def _load(self, statement: str, result: Any) -> list[Any]:
        self._check(result)
        known = self.prepared[statement]
        if known.make_row is None:
            names = [result.fname(index).decode() for index in range(result.nfields)]
            known.make_row = namedtuple("Row", names)._make  # type: ignore[attr-defined]
        self.transformer.set_pgresult(result)
        return self.transformer.load_rows(0, result.ntuples, known.make_row)

    def _check(self, result: Any) -> None:
        if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
            if self.connection.pgconn.status == pq.ConnStatus.BAD:
                raise psycopg.OperationalError(result.get_error_message())
            raise psycopg.errors.error_from_result(result, encoding=self.connection.info.encoding)

    def _log(self, statement: str, values: Mapping[str, Any], seconds: float) -> None:
        texts = {name: (_to_text(value) or b"").decode() for name, value in values.items()}
        self.queries_log.append({"sql": self.ops.compose_sql(statement, texts), "time": f"{seconds:.3f}"})


@dataclass(slots=True)
class Prepared:
    query: bytes  # the name of the prepared statement, or its text if they are switched off
    names: tuple[str, ...]  # of the parameters, in order
    make_row: Callable[[Iterable[Any]], tuple[Any, ...]] | None = None


class AfterCommit:
    """A statement to run after a transaction, for `transaction.on_commit`."""

    def __init__(
        self,
        connection: DatabaseWrapper,
        statement: str,
        values: Mapping[str, Any],
        use: Callable[[list[Any]], None],
    ) -> None:
        self.connection, self.statement, self.values, self.use = connection, statement, values, use
        self.result: Any = None  # set if the statement was sent with COMMIT
        self.__qualname__ = use.__qualname__  # for Django's log

    def __call__(self) -> None:
        if self.result is None:
            rows = self.connection.run_prepared(self.statement, self.values)
        else:
            with self.connection.wrap_database_errors:
                rows = self.connection._load(self.statement, self.result)
        self.use(rows)


class MomentLoader(Loader):
    """Loads moments of a session in UTC. Django's loader takes a few times as long."""

    timezone = UTC  # Django's cursors replace loaders of other time zones.

    def load(self, data: Any) -> datetime:
        return datetime.fromisoformat(bytes(data).decode()).astimezone(self.timezone)


@cache
def _to_positional(statement: str) -> tuple[bytes, tuple[str, ...]]:
    """Replace %(name)s by $1, $2, .... Return the names in order."""
    names: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        return f"${names.setdefault(found[1], len(names) + 1)}" if found[1] else "%"

    return re.sub(r"%\((\w+)\)s|%%", number, statement).encode(), tuple(names)


def _to_text(value: Any) -> bytes | None:
    """Return the text of a value for PostgreSQL to read. Lists become JSON."""
    if value is None:
        return None
    if isinstance(value, list):
        value = _ENCODER.encode(value)
    elif not isinstance(value, str):
        value = str(value) if isinstance(value, int) else _plain(value)
    text = str(value)
    if "\0" in text:  # libpq would send what is before it
        raise psycopg.DataError("PostgreSQL text can't contain NUL characters.")
    return text.encode()


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} can't be a parameter.")


_ENCODER = json.JSONEncoder(default=_plain, separators=(",", ":"))
