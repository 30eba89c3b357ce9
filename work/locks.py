"""Locks that a process holds while it waits for other servers, and that PostgreSQL releases if the process dies.

All locks of a process are in one session, apart from the connections that do the work. While the process holds any,
the session is in a transaction, so that a pooler in transaction mode keeps it on the same connection of the server.
Between statements, that transaction has no snapshot and doesn't delay vacuum.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from zlib import crc32

import psycopg
from django.db import connection

APPLICATION_NAME = "keywell locks"
# Also keeps the server from ending the transaction because it is idle.
LOCK = "SELECT pg_try_advisory_lock(%s, %s), set_config('idle_in_transaction_session_timeout', '0', true)"
UNLOCK = "SELECT pg_advisory_unlock(%s, %s)"

Key = tuple[int, int]


@contextmanager
def advisory_lock(name: str, pk: int) -> Iterator[bool]:
    """Try to lock `pk` among the locks of this name, and yield whether we got it.

    The lock keeps workers from doing the same work twice. It doesn't replace a claim: if PostgreSQL ends the session,
    another worker may get the lock before this one is done.
    """
    key = (crc32(name.encode()) - 2**31, pk % 2**31)
    holder = session.acquire(key)
    try:
        yield holder is not None
    finally:
        if holder:
            session.release(key, holder)


class LockSession:
    """The session that holds the locks of this process. Its threads share it."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        # PostgreSQL would give a session the same lock again.
        self.held: set[Key] = set()
        self.connection: psycopg.Connection | None = None

    def acquire(self, key: Key) -> psycopg.Connection | None:
        """Return the connection that holds the lock, or None if another thread or process holds it."""
        with self.mutex, connection.wrap_database_errors:
            if key in self.held:
                return None
            try:
                holder = self._try(key)
            except psycopg.OperationalError:
                # The connection was lost, perhaps long ago.
                self.close()
                holder = self._try(key)
            if holder:
                self.held.add(key)
            return holder

    def release(self, key: Key, holder: psycopg.Connection) -> None:
        with self.mutex:
            self.held.discard(key)
            try:
                holder.execute(UNLOCK, key)
                self._end_transaction(holder)
            except psycopg.Error:
                # Closing it also releases the lock.
                holder.close()

    def close(self) -> None:
        if self.connection:
            self.connection.close()
        self.connection = None

    def _try(self, key: Key) -> psycopg.Connection | None:
        holder = self._connect()
        row = holder.execute(LOCK, key).fetchone()
        if row and row[0]:
            return holder
        self._end_transaction(holder)
        return None

    def _connect(self) -> psycopg.Connection:
        if self.connection is None or self.connection.closed:
            parameters = connection.get_connection_params() | {"application_name": APPLICATION_NAME}
            self.connection = psycopg.connect(**parameters)
        return self.connection

    def _end_transaction(self, holder: psycopg.Connection) -> None:
        if not self.held:
            holder.rollback()


session = LockSession()
