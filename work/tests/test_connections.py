from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import connection

from delivery.models import Delivery
from delivery.tasks import deliver
from portal.celery import app
from runtime.pgbouncer import direct_url
from work.tasks import note_begin


def test_tasks_keep_their_database_connection():
    # Celery's Django fixup closes it after each task unless it finds this, under this name.
    assert app.conf.get("CELERY_DB_REUSE_MAX")


@pytest.mark.django_db(transaction=True)
def test_a_task_replaces_a_connection_that_postgresql_has_closed(monkeypatch):
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "PORT", urlsplit(direct_url()).port)
    assert not Delivery.objects.exists()
    pid = connection.connection.info.backend_pid
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": psycopg.Cursor}) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])

    note_begin(task=deliver, args=[])

    assert not Delivery.objects.exists()
    assert connection.connection.info.backend_pid != pid
    connection.close()
