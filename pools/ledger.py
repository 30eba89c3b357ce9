"""Who moved keys, for the ledger that the database writes."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def moved_by(who: str) -> Iterator[None]:
    """Have movements of keys in this block, which is one transaction, stand in the ledger under this name."""
    with transaction.atomic():
        _set_actor(who)
        yield
        _set_actor("")


def _set_actor(who: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('keywell.actor', %s, true)", [who])
