"""Persistent connections to the database, which are checked only after a pause."""

import os

import psycopg
import pytest
from django.db import OperationalError, close_old_connections, connection

from runtime.postgresql import base

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(base.time, "monotonic", lambda: Clock.now)
    monkeypatch.setitem(connection.settings_dict, "CONN_HEALTH_CHECKS", True)
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
    connection.close()
    yield Clock
    connection.close()


def request():
    """Do what Django does at the start of a request, and one query."""
    close_old_connections()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def end_session(pid):
    with psycopg.connect(os.environ["DATABASE_URL"]) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def count_checks(monkeypatch):
    def is_usable():
        checks.append(1)
        return check()

    checks: list[int] = []
    check = connection.is_usable
    monkeypatch.setattr(connection, "is_usable", is_usable)
    return checks


def test_a_connection_is_checked_only_after_a_pause(clock, monkeypatch):
    first = request()
    checks = count_checks(monkeypatch)

    for _ in range(3):
        assert request() == first
    assert checks == []

    clock.now += base.IDLE_SECONDS + 1
    assert request() == first
    assert checks == [1]


def test_a_connection_that_was_lost_during_a_pause_is_replaced(clock):
    first = request()
    end_session(first)
    clock.now += base.IDLE_SECONDS + 1

    assert request() != first


def test_one_that_is_lost_between_requests_fails_once(clock):
    first = request()
    end_session(first)

    with pytest.raises(OperationalError):
        request()

    assert request() != first
