"""Keywell behind PgBouncer in transaction mode. `python3 run.py test --pgbouncer` runs all tests through it."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import psycopg
import pytest
import requests

from runtime.embedded import Postgres
from runtime.pgbouncer import PgBouncer, find_pgbouncer
from runtime.supervisor import ServiceError
from runtime.tests.groups import Group, Shop, cluster
from runtime.tests.installation import TIMEOUT, free_port, wait_until

ADD_ENDPOINT = """
from merchants.models import Merchant
from webhooks.models import WebhookEndpoint
merchant = Merchant.objects.get(slug="northlight")
secret = WebhookEndpoint.make_secret()
merchant.webhook_endpoints.create(url="{url}", events=["order.paid"], secret=secret)
"""
# Fewer than the payments, so that some wait for the import.
KEYS, PAYMENTS = 20, 60


class Receiver(BaseHTTPRequestHandler):
    """A shop that takes webhooks."""

    received: list[bytes] = []

    def do_POST(self):
        self.received.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    Receiver.received = []
    server = ThreadingHTTPServer(("127.0.0.1", free_port()), Receiver)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture
def shared():
    try:
        find_pgbouncer()
    except ServiceError as missing:
        assert not os.environ.get("CI"), str(missing)
        pytest.skip(str(missing))
    with cluster() as shared:
        pgbouncer = PgBouncer(Postgres(shared.folder), shared.folder)
        shared.servers.insert(0, pgbouncer)  # stopped first
        pgbouncer.start()
        pgbouncer.wait_until_ready()
        shared.settings |= pgbouncer.settings | {"CALLOUT_NETWORKS": "127.0.0.0/8"}
        yield shared


@pytest.mark.installation
def test_payments_emails_imports_and_webhooks_pass_through_it(shared, receiver):
    shared.fill(KEYS)
    shared.manage("shell", "--no-imports", "-c", ADD_ENDPOINT.format(url=f"http://127.0.0.1:{receiver.server_port}/"))
    groups = [Group(shared, "a"), Group(shared, "b")]
    for group in groups:
        group.start()
    shop = Shop(shared, groups)

    def add_keys() -> None:
        keys = "\n".join(f"MORE-{number:08}" for number in range(PAYMENTS))
        headers = shop.headers | {"Host": "localhost", "Content-Type": "text/plain"}
        url = f"http://127.0.0.1:{groups[0].port}/api/v1/pools/{pool_of(shared)}/keys/"
        assert requests.post(url, keys, headers=headers, timeout=TIMEOUT).status_code == 201

    try:
        shop.pay_all("p", PAYMENTS, then={PAYMENTS // 2: [add_keys]})

        wait_until(lambda: len(Receiver.received) >= PAYMENTS)
        shared.check("p", PAYMENTS)
        assert not [status for status in shop.statuses if status >= 500], shop.statuses
    finally:
        for group in groups:
            group.stop()


@pytest.mark.installation
def test_a_backup_through_it_is_refused(shared, tmp_path):
    shared.manage("migrate")

    with pytest.raises(AssertionError, match="names a connection pooler"):
        shared.manage("backup", str(tmp_path / "backup"))


def pool_of(shared) -> int:
    with psycopg.connect(shared.settings["DATABASE_URL"]) as connection:
        [(pk,)] = connection.execute("SELECT id FROM pools_licensepool WHERE name = 'Photo Lite'").fetchall()
    return pk
