"""Advisory locks, which a process holds while it waits for other servers."""

import os
import subprocess
import sys
from threading import Event
from urllib.parse import urlsplit

import psycopg
import pytest
from django.conf import settings
from django.db import OperationalError, connection, transaction

from runtime.pgbouncer import direct_url
from runtime.tests.installation import TIMEOUT, wait_until
from work import locks
from work.locks import advisory_lock

pytestmark = pytest.mark.django_db(transaction=True)

HOLD = """
import sys, django
django.setup()
from work.locks import advisory_lock
with advisory_lock("test", int(sys.argv[1])) as locked:
    print(locked, flush=True)
    sys.stdin.read()
"""
SESSIONS = "SELECT pid, state, backend_xmin FROM pg_stat_activity WHERE application_name = 'keywell locks'"


class Holder:
    """Another process that holds a lock."""

    def __init__(self, pk):
        database = "/" + connection.settings_dict["NAME"]
        address = urlsplit(os.environ["DATABASE_URL"])._replace(path=database).geturl()
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(pk)],
            cwd=settings.BASE_DIR,
            env=os.environ | {"DATABASE_URL": address, "DJANGO_SETTINGS_MODULE": "portal.settings"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.locked = self.process.stdout.readline().strip() == "True"

    def let_go(self):
        self.process.communicate("", timeout=TIMEOUT)

    def kill(self):
        self.process.kill()
        self.process.communicate(timeout=TIMEOUT)


def is_free(pk):
    with advisory_lock("test", pk) as locked:
        return locked


def sessions():
    with psycopg.connect(direct_url()) as server:
        return server.execute(SESSIONS + " AND datname = %s", [connection.settings_dict["NAME"]]).fetchall()


def test_another_process_does_not_get_a_held_lock():
    with advisory_lock("test", 1) as locked:
        assert locked
        assert not (other := Holder(1)).locked
        other.let_go()
        assert (another := Holder(2)).locked
        another.let_go()

    assert is_free(1)


def test_nor_does_another_thread_of_the_same_process(in_threads):
    with advisory_lock("test", 1) as locked:
        assert in_threads(is_free, [1, 2], threads=2) == [False, True]
        assert locked and not is_free(1)

    assert is_free(1)


def test_only_one_of_many_threads_gets_it(in_threads):
    def hold(number):
        with advisory_lock("test", 1) as locked:
            if locked:
                gate.wait(TIMEOUT)
            else:
                refused.append(number)
                if len(refused) == 7:
                    gate.set()
            return locked

    refused: list[int] = []
    gate = Event()
    assert sum(in_threads(hold, range(8), threads=8)) == 1


def test_a_killed_process_loses_its_lock():
    holder = Holder(1)
    assert holder.locked and not is_free(1)

    holder.kill()

    wait_until(lambda: is_free(1))


def test_it_is_kept_while_the_work_commits_and_rolls_back():
    with advisory_lock("test", 1):
        with transaction.atomic():
            transaction.set_rollback(True)
        connection.close()
        other = Holder(1)
        assert not other.locked
        other.let_go()


def test_the_locks_of_a_process_share_one_session_that_holds_back_no_vacuum():
    with advisory_lock("test", 1), advisory_lock("test", 2):
        # Behind a pooler, other sessions keep the name.
        busy = [(state, oldest) for _, state, oldest in sessions() if state != "idle"]
        assert busy == [("idle in transaction", None)]

    assert {state for _, state, _ in sessions()} == {"idle"}


def test_a_session_that_was_ended_is_replaced():
    assert is_free(1)
    end_session()

    assert is_free(1)


def test_a_lock_whose_session_was_ended_is_still_held_within_the_process():
    with advisory_lock("test", 1):
        end_session()
        assert is_free(2)
        assert not is_free(1)

    assert is_free(1)


def end_session():
    with psycopg.connect(direct_url()) as server:
        for pid, *_ in sessions():
            server.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def test_an_error_inside_releases_it():
    with pytest.raises(ZeroDivisionError), advisory_lock("test", 1):
        raise ZeroDivisionError

    assert is_free(1)


def test_a_failed_attempt_leaves_nothing_behind(monkeypatch):
    def fail(**parameters):
        raise psycopg.OperationalError("no answer")

    locks.session.close()
    with monkeypatch.context() as patch, pytest.raises(OperationalError):
        patch.setattr(psycopg, "connect", fail)
        is_free(1)

    assert is_free(1)
