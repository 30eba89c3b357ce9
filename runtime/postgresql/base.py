"""Django's PostgreSQL backend, with prepared statements and cheaper checks of persistent connections.

Django's CONN_HEALTH_CHECKS asks the server before the first query of each request, which costs a round trip. A
connection that answered a moment ago is most likely alive. If it isn't, the request gets a 503 as during an outage,
the caller repeats it, and Django replaces the connection.
"""

import time
from typing import Any, Self

import psycopg
from django.conf import settings
from django.db.backends.postgresql import base
from psycopg.rows import namedtuple_row

# Seconds without a query after which a connection is checked before its next one.
IDLE_SECONDS = 5


class PreparingCursor(psycopg.Cursor[Any]):
    """Sends values apart from the statement, which PostgreSQL parses and plans once per connection."""

    def execute(self, query: Any, params: Any = None, **_: Any) -> Self:
        return super().execute(query, params, prepare=settings.PREPARED_STATEMENTS)


class DatabaseWrapper(base.DatabaseWrapper):
    used_at = float("-inf")

    def get_connection_params(self) -> dict[str, Any]:
        # Without a threshold, psycopg prepares nothing, not even on request.
        return super().get_connection_params() | {"prepare_threshold": 1 if settings.PREPARED_STATEMENTS else None}

    def close_if_health_check_failed(self) -> None:
        """Called before each query."""
        now = time.monotonic()
        if now - self.used_at < IDLE_SECONDS:
            self.health_check_done = True
        super().close_if_health_check_failed()
        self.used_at = now

    def prepared(self) -> Any:
        """Return a cursor for statements that run often and whose text never changes (work/sql.py)."""
        self.close_if_health_check_failed()
        self.ensure_connection()
        cursor = PreparingCursor(self.connection, row_factory=namedtuple_row)
        return self._prepare_cursor(cursor)  # type: ignore[attr-defined]
