"""`manage migrate` beside a running installation."""

from io import StringIO

import psycopg
import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from psycopg.errors import LockNotAvailable

from runtime.management.commands import migrate
from runtime.postgresql.base import SchemaEditor

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def backup(monkeypatch):
    """A transaction that reads a table for long, as pg_dump does."""
    monkeypatch.setattr(SchemaEditor, "LOCK_TIMEOUT", "50ms")
    settings = connection.get_connection_params() | {"cursor_factory": None, "context": None}
    with psycopg.connect(**{name: value for name, value in settings.items() if value is not None}) as other:
        other.execute("SELECT count(*) FROM webhooks_webhookmessage")
        yield other


def test_it_gives_way_to_payments_while_a_backup_uses_a_table(backup):
    with pytest.raises(OperationalError) as raised, connection.schema_editor() as editor:
        editor.execute("ALTER TABLE webhooks_webhookmessage ADD COLUMN more integer", params=None)

    assert isinstance(raised.value.__cause__, LockNotAvailable)


def test_it_tries_again_until_the_backup_is_done(backup, monkeypatch):
    backup.rollback()
    call_command("migrate", "webhooks", "0003", verbosity=0)
    backup.execute("SELECT count(*) FROM webhooks_webhookmessage")
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            backup.rollback()

    monkeypatch.setattr(migrate, "sleep", pause)
    said = StringIO()
    try:
        call_command("migrate", "webhooks", verbosity=0, stderr=said)
    finally:
        backup.rollback()
        call_command("migrate", "webhooks", verbosity=0)

    assert len(pauses) == 2
    assert "Something uses the table" in said.getvalue()
    with connection.cursor() as cursor:
        cursor.execute("SELECT shop_request_id FROM webhooks_webhookmessage")


def test_other_errors_end_it(monkeypatch):
    def fail(*args, **options):
        raise OperationalError("the server is gone")

    monkeypatch.setattr(migrate.migrate.Command, "handle", fail)

    with pytest.raises(OperationalError, match="the server is gone"):
        call_command("migrate", verbosity=0)
