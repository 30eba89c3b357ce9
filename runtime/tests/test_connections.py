"""Persistent connections to the database, which are checked only after a pause."""

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from threading import Event, Thread
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import DataError, IntegrityError, OperationalError, close_old_connections, connection, transaction
from django.db.models import BinaryField, F, Value
from django.db.models.functions import Concat, Now
from django.db.transaction import TransactionManagementError

from merchants.models import Merchant
from runtime.pgbouncer import direct_url
from runtime.postgresql import base
from work import sql

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def without_a_pooler(monkeypatch):
    """These tests are about sessions, and messages too long for PgBouncer to take while it returns an answer."""
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "PORT", urlsplit(direct_url()).port)
    yield
    connection.close()


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
    with psycopg.connect(direct_url()) as other:
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


def test_the_first_statement_of_a_request_is_repeated_over_a_new_connection(clock):
    first = request()
    end_session(first)

    assert sql.run_first("SELECT pg_backend_pid() AS pid")[0].pid != first


def test_others_are_not_repeated(clock):
    end_session(request())
    with pytest.raises(OperationalError):
        sql.run("SELECT 1 AS answer")

    request()


@pytest.mark.parametrize("is_on", [True, False])
def test_statements_longer_than_the_sockets_buffer_arrive(settings, is_on):
    settings.PREPARED_STATEMENTS = is_on
    connection.close()
    text = "é" * 5_000_000
    with transaction.atomic():
        assert sql.run("SELECT %(text)s::text AS text", text=text)[0].text == text
        results = [run_after_commit("SELECT %(text)s::text AS slug", text=text) for _ in range(2)]

    assert results == [[[text]], [[text]]]
    connection.close()


def test_a_nul_character_is_an_error_as_in_other_statements():
    with pytest.raises(DataError, match="NUL"):
        sql.run("SELECT %(text)s::text AS text", text="a\0b")


PREPARED = "SELECT count(*) AS count FROM pg_prepared_statements WHERE statement LIKE %(pattern)s"


@pytest.mark.parametrize(("is_on", "count"), [(True, 1), (False, 0)])
def test_written_statements_are_prepared_once_unless_switched_off(settings, is_on, count):
    connection.close()
    settings.PREPARED_STATEMENTS = is_on

    for number in (1, 2):
        assert sql.run("SELECT %(number)s::integer + 1 AS answer", number=number)[0].answer == number + 1

    assert sql.run(PREPARED, pattern="SELECT $1::integer + 1%")[0].count == count
    connection.close()


def test_values_of_all_kinds_reach_the_database():
    moment = datetime(2026, 11, 22, 10, 0, 0, 123456, UTC)
    values = {"text": "a\\'%", "none": None, "bytes": b"\x00\xff", "number": Decimal("1.50"), "moment": moment}
    (row,) = sql.run(
        """
        -- a comment with a % sign
        SELECT %(text)s::text AS text, %(none)s::text AS none, %(bytes)s::bytea AS bytes,
            %(number)s::numeric AS number,
            %(moment)s::timestamptz AS moment, 10 %% 4 AS rest, %(text)s::text AS again
        """,
        **values,
    )
    assert row._asdict() == {**values, "rest": 2, "again": values["text"]}

    rows = [{name: value for name, value in values.items() if name != "none"}]
    (row,) = sql.run(
        "SELECT * FROM json_to_recordset(%(rows)s::json)"
        " AS given (text text, bytes bytea, number numeric, moment timestamptz)",
        rows=rows,
    )
    assert row._asdict() == rows[0]
    with pytest.raises(TypeError):
        sql.run("SELECT %(value)s AS x", value=object())


def test_errors_are_those_of_django_and_name_no_values():
    with transaction.atomic(), pytest.raises(IntegrityError):
        sql.run("INSERT INTO merchants_merchant (name) VALUES (%(name)s) RETURNING id", name="SECRET")
    with transaction.atomic(), pytest.raises(TransactionManagementError):
        with pytest.raises(DataError), transaction.atomic():
            sql.run("SELECT %(value)s::integer AS x", value="a")
        transaction.set_rollback(True)
        sql.run("SELECT 1 AS x")


def test_a_statement_starts_the_transaction_and_is_rolled_back_with_it():
    def count():
        return sql.run("SELECT count(*) AS count FROM merchants_merchant")[0].count

    before = count()
    with transaction.atomic():
        sql.run(
            "INSERT INTO merchants_merchant (name, slug, sender_name, reply_to, second_factor_required)"
            " VALUES ('A', 'a-b-c', '', '', false)"
        )
        assert count() == before + 1
        transaction.set_rollback(True)
    assert count() == before


def test_waiting_for_a_statement_lets_other_threads_work():
    def wait():
        sql.run("SELECT 1 AS x FROM pg_sleep(0.5)")
        connection.close()
        done.set()

    done = Event()
    waiting = Thread(target=wait)
    waiting.start()
    steps = 0
    while not done.is_set():
        steps += 1
    waiting.join()
    assert steps > 1000


ADD = """
    INSERT INTO merchants_merchant (name, slug, sender_name, reply_to, second_factor_required)
    VALUES ('A', %(slug)s, '', '', false) RETURNING id
"""
FIND = "SELECT slug FROM merchants_merchant WHERE slug LIKE 'after-%%'"


def run_after_commit(statement=FIND, **parameters):
    results: list[list[str]] = []
    sql.run_after_commit(lambda rows: results.append([row.slug for row in rows]), statement, **parameters)
    return results


def test_a_statement_after_the_transaction_sees_its_rows():
    with transaction.atomic():
        results = run_after_commit()
        sql.run(ADD, slug="after-1")
        assert results == []
    assert results == [["after-1"]]

    assert run_after_commit() == [["after-1"]]  # without a transaction


def test_no_statement_follows_a_rollback():
    with transaction.atomic():
        with transaction.atomic():
            inner = run_after_commit()
            transaction.set_rollback(True)
        outer = run_after_commit()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        failed = run_after_commit()
        sql.run(ADD, slug="after-2")
        raise ZeroDivisionError

    assert (inner, outer, failed) == ([], [[]], [])


def test_an_error_after_the_transaction_is_logged(caplog):
    with transaction.atomic():
        sql.run(ADD, slug="after-1")
        failing = run_after_commit("SELECT %(value)s::integer AS slug", value="a")
        passing = run_after_commit()

    assert (failing, passing) == ([], [["after-1"]])
    assert "DataError" in caplog.text


@pytest.mark.parametrize("is_atomic", [True, False])
def test_a_partial_function_that_fails_is_logged_and_the_next_one_is_called(caplog, is_atomic):
    called: list[int] = []
    with transaction.atomic() if is_atomic else nullcontext():
        transaction.on_commit(partial(end_session, "no pid"), robust=True)
        transaction.on_commit(partial(called.append, 1), robust=True)

    assert called == [1]
    assert "Error calling end_session" in caplog.text


def test_nothing_is_used_if_the_commit_fails():
    with pytest.raises(IntegrityError), transaction.atomic():
        results = run_after_commit()
        sql.run("INSERT INTO merchants_product (merchant_id, sku, name) VALUES (0, '', '')")

    assert results == []
    assert run_after_commit() == [[]]


def test_a_connection_that_is_lost_before_the_commit_is_replaced(clock):
    with pytest.raises(OperationalError), transaction.atomic():
        results = run_after_commit()
        end_session(sql.run("SELECT pg_backend_pid() AS pid")[0].pid)

    assert results == []
    assert run_after_commit() == [[]]


def test_a_connection_that_is_lost_before_the_transaction_is_replaced(clock):
    end_session(request())
    with pytest.raises(OperationalError), transaction.atomic():
        sql.run(FIND)

    assert sql.run(FIND) == []


def test_a_queryset_is_composed_once_for_all_values():
    composed = []

    @sql.PreparedQuery
    def read(merchant: int, other: int, suffix: str, digest: bytes):
        composed.append(merchant)
        soon = Now() + timedelta(hours=1)
        rows = Merchant.objects.filter(pk__in=[merchant, other], created_at__lt=soon).order_by("name")
        return rows.values(
            title=Concat("name", Value(" 100%"), Value(suffix)),
            key=F("pk"),
            digest=Value(digest, output_field=BinaryField()),
        )

    keys = [Merchant.objects.create(name=name, slug=name.lower()).pk for name in ("Ada", "Bob", "Cid")]
    found = [
        read(merchant=keys[0], other=keys[1], suffix="!", digest=b"\0"),
        read(merchant=keys[2], other=keys[1], suffix="'%s", digest=b"\xff"),
    ]

    assert [[tuple(row) for row in rows] for rows in found] == [
        [("Ada 100%!", keys[0], b"\0"), ("Bob 100%!", keys[1], b"\0")],
        [("Bob 100%'%s", keys[1], b"\xff"), ("Cid 100%'%s", keys[2], b"\xff")],
    ]
    assert len(composed) == 1
