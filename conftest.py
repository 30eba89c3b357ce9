"""Fixtures for all tests: a merchant, products in stock, payments, and a worker that does all due work."""

import gc
import itertools
import os
import threading
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test import TransactionTestCase, override_settings

from api.tests import factories as payments
from fulfillment.tests import factories as fulfillment
from merchants.models import Member, Merchant
from merchants.sandbox import get_sandbox
from merchants.tests import factories as merchants
from pools.tests import factories as pools
from runtime.measures import QUEUES
from runtime.pgbouncer import direct_url
from vault.fingerprints import ensure_key
from work import locks
from work.valkey import Breaker, valkey

pytest_plugins = ["fulfillment.tests.fixtures", "portal.tests.fixtures"]

# Slow modules start first; otherwise one process would run the last of them alone.
SLOWEST = [
    *["test_system.py", "test_every_page.py", "test_passkeys.py", "test_run.py", "test_desk_browser.py"],
    *["test_access.py", "test_net_licensing.py"],
]
EMPTY_TABLES = """
DO $$
DECLARE
    name text;
BEGIN
    SET LOCAL session_replication_role = replica;  -- neither foreign keys nor the ledger refuse
    FOR name IN
        SELECT tablename FROM pg_tables WHERE schemaname = current_schema
        AND tablename NOT IN ('django_migrations', 'django_content_type', 'auth_permission')
    LOOP
        EXECUTE format('DELETE FROM %I', name);
    END LOOP;
END $$
"""
END_OTHER_SESSIONS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
TEMPLATE = "test_template"
# Tests with these fixtures get a marker, which `run.py test --fast` excludes.
NEEDS = {"chrome": "browser", "install": "installation"}


def pytest_make_parametrize_id(config, val, argname):
    """Name bytes after their argument: compressed files contain the time, so processes would collect other tests."""
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items):
    for item in items:
        for fixture, mark in NEEDS.items():
            if fixture in item.fixturenames:
                item.add_marker(mark)


def pytest_collection_finish():
    """Keep the garbage collector from scanning modules and tests, which live until the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class SlowestFirst:
    """Runs after pytest-django has sorted the tests."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        order = {name: number for number, name in enumerate(SLOWEST)}
        items.sort(key=lambda item: order.get(item.path.name, len(order)))


def pytest_configure(config):
    config.pluginmanager.register(SlowestFirst())


@pytest.fixture(scope="session", autouse=True)
def valkey_of_its_own():
    """Give each test process its own counters in Valkey and in files, as it has its own database."""
    number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    settings.VALKEY["url"] += f"?db={number}"
    settings.METRICS_FOLDER /= number
    # A busy machine is slow to answer, which is not what tests of anything else are about.
    settings.VALKEY |= {"socket_connect_timeout": 30, "socket_timeout": 30}


@pytest.fixture(autouse=True)
def valkey_answers():
    """Reset the circuit breaker of Valkey, which a test may have opened, and the queues, which it may have filled."""
    yield
    Breaker.closed_until = 0
    valkey().delete(*QUEUES)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings, django_db_blocker):
    """Let all test processes copy one migrated database."""
    # A database can't be copied or dropped while a pooler is connected to it.
    connection.settings_dict["PORT"] = urlsplit(direct_url()).port
    if run := os.environ.get("PYTEST_XDIST_TESTRUNUID"):
        with django_db_blocker.unblock():
            migrate_template(run)


def migrate_template(run):
    database, test = connection.settings_dict, connection.settings_dict["TEST"]
    before = database["NAME"], test["NAME"]
    with connection._nodb_cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(1)")  # until the cursor's connection is closed
        cursor.execute("SELECT 1 FROM pg_database WHERE shobj_description(oid, 'pg_database') = %s", [run])
        if not cursor.fetchone():
            test["NAME"] = TEMPLATE
            connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
            connection.close()
            connection.close_pool()  # type: ignore[attr-defined]
            database["NAME"], test["NAME"] = before
            cursor.execute(f"COMMENT ON DATABASE {TEMPLATE} IS '{run}'")
    test |= {"TEMPLATE": TEMPLATE, "MIGRATE": False}


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    TransactionTestCase._fixture_teardown = lambda test: empty_tables()  # type: ignore[attr-defined]
    direct, pooled = (urlsplit(url).port for url in (direct_url(), os.environ["DATABASE_URL"]))
    with django_db_blocker.unblock():
        connection.close()
        connection.settings_dict["PORT"] = pooled
        yield
        connection.close()
        locks.session.close()
        connection.settings_dict["PORT"] = direct
        with connection.cursor() as cursor:
            cursor.execute(END_OTHER_SESSIONS)


def empty_tables():
    """Delete all rows. Django's flush is slower: it also truncates empty tables and recreates the content types."""
    with connection.cursor() as cursor:
        cursor.execute(EMPTY_TABLES)
    ensure_key()


@pytest.fixture(scope="session", autouse=True)
def quick_settings():
    with override_settings(
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        # Find static files on request; otherwise each client would read all of them before its first request.
        WHITENOISE_AUTOREFRESH=True,
        # As in the demo. Tests of the second factor turn it on.
        STAFF_SECOND_FACTOR_REQUIRED=False,
    ):
        yield


@pytest.fixture(scope="module", autouse=True)
def rows(request, django_db_blocker):
    """Call a module's `make_rows` once, in a transaction around all its tests. These tests must not commit."""
    if not hasattr(request.module, "make_rows"):
        yield
        return
    request.getfixturevalue("django_db_setup")
    around = transaction.atomic()
    with django_db_blocker.unblock():
        around.__enter__()
        request.module.make_rows(merchants.make_merchant())
    yield
    with django_db_blocker.unblock():
        transaction.set_rollback(True)
        around.__exit__(None, None, None)


@pytest.fixture
def make_merchant(db):
    return merchants.make_merchant


@pytest.fixture
def merchant(make_merchant, request):
    return Merchant.objects.get(slug="northlight") if hasattr(request.module, "make_rows") else make_merchant()


@pytest.fixture
def outsider(make_merchant):
    """Another merchant."""
    return make_merchant("Outsider")


@pytest.fixture
def make_member(merchant):
    def make(role=Member.Role.SUPPORT, merchant=merchant, **fields):
        return merchants.make_member(merchant, role, **fields)

    return make


@pytest.fixture
def support(make_member, client):
    """A client signed in as a support member of the merchant."""
    client.force_login(make_member().user)
    return client


@pytest.fixture
def make_pool(merchant):
    numbers = itertools.count(1)

    def make(keys=0, *, merchant=merchant, name=None, **fields):
        return pools.make_pool(merchant, keys, name=name or f"Pool {next(numbers)}", **fields)

    return make


@pytest.fixture
def make_product(merchant):
    numbers = itertools.count(1)

    def make(keys=10, *, merchant=merchant, **fields):
        number = next(numbers)
        names = {"sku": f"SKU-{number}", "name": f"Program {number}"}
        return fulfillment.make_product(merchant, keys, **names | fields)

    return make


@pytest.fixture
def product(make_product):
    return make_product()


@pytest.fixture
def make_payment():
    numbers = itertools.count(1)
    return lambda *products, **fields: payments.make_payment(*products, number=next(numbers), **fields)


@pytest.fixture
def make_api():
    return payments.make_api


@pytest.fixture
def api(merchant, make_api):
    return make_api(merchant)


@pytest.fixture
def sandbox(merchant):
    return get_sandbox(merchant)


@pytest.fixture
def pay_as_test(sandbox, make_api, make_payment):
    api = make_api(sandbox)
    return lambda *products, **fields: payments.report(api, make_payment(*products, **fields))


@pytest.fixture
def pay(api, make_payment):
    return lambda *products, **fields: payments.report(api, make_payment(*products, **fields))


@pytest.fixture
def work():
    return fulfillment.work


@pytest.fixture
def in_threads():
    """Call a function with each of the arguments in this number of threads; return the results in order."""

    def run(function, arguments, threads):
        todo = list(enumerate(arguments))
        results = [None] * len(todo)
        errors = []
        lock, gate = threading.Lock(), threading.Barrier(threads)

        def serve():
            gate.wait()
            try:
                while True:
                    with lock:
                        if not todo:
                            return
                        index, argument = todo.pop(0)
                    results[index] = function(argument)
            except Exception as error:
                errors.append(error)
            finally:
                connection.close()

        workers = [threading.Thread(target=serve) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if errors:
            raise errors[0]
        return results

    return run
