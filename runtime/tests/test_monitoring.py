"""A running installation: metrics under load, and one request id from the shop to logs, e-mail and webhook."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from runtime.tests.installation import TIMEOUT, free_port

PAYMENTS = 200
ADD_ENDPOINT = """
from merchants.models import Merchant
from webhooks.models import WebhookEndpoint
secret = WebhookEndpoint.make_secret()
Merchant.objects.get().webhook_endpoints.create(url="{url}", events=["order.paid"], secret=secret)
"""


class Receiver(BaseHTTPRequestHandler):
    """A shop that takes webhooks and keeps their request ids."""

    ids: set[str] = set()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.ids.add(self.headers["X-Request-ID"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def keywell(install, sink):
    keywell = install()
    settings = {"LOG_FORMAT": "json", "CALLOUT_NETWORKS": "127.0.0.0/8", "LOG_FILE_MB": "1", "LOG_FILES": "2"}
    keywell.start(EMAIL_URL=f"smtp://127.0.0.1:{sink.port}", **settings)
    yield keywell
    keywell.stop()


@pytest.fixture(scope="module")
def receiver(keywell):
    server = ThreadingHTTPServer(("127.0.0.1", free_port()), Receiver)
    Thread(target=server.serve_forever, daemon=True).start()
    script = ADD_ENDPOINT.format(url=f"http://127.0.0.1:{server.server_port}/hook")
    added = keywell.run("manage", "shell", "--no-imports", "-c", script)
    assert added.returncode == 0, added.stderr
    yield Receiver
    server.shutdown()


def scrape(keywell):
    response = requests.get(f"http://127.0.0.1:{keywell.port}/metrics", timeout=TIMEOUT)
    assert response.status_code == 200, response.text
    families = text_string_to_metric_families(response.text)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def entries(keywell, service):
    """The log of a service as objects, also what was rotated."""
    logs = sorted((keywell.var / "log").glob(f"{service}.log*"))
    lines = "".join(path.read_text() for path in logs).splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def report(keywell, number):
    """Report a payment with a request id; return the id of the answer."""
    env = dict(line.split("=", 1) for line in (keywell.var / "demo.env").read_text().splitlines() if "=" in line)
    payment = {
        "order": f"L{number:05}",
        "paid_at": "2026-11-22T10:00:00Z",
        "currency": "EUR",
        "customer": {"email": f"customer{number}@example.com"},
        "items": [{"item": "1", "product": "PHOTO-PRO", "quantity": 1, "total_price": "59.98"}],
    }
    headers = {"Authorization": f"Bearer {env['API_KEY']}", "X-Request-ID": f"shop-{number}"}
    url = f"http://127.0.0.1:{keywell.port}/api/v1/payments/"
    response = requests.post(url, json=payment, headers=headers, timeout=TIMEOUT)
    assert response.status_code == 201, response.text
    return response.headers["X-Request-ID"]


def test_a_scrape_under_load_is_complete_and_adds_up_all_processes(keywell, sink, receiver):
    accepted = ("keywell_payments_total", "accepted")
    before = scrape(keywell)
    with ThreadPoolExecutor(8) as threads:
        ids = threads.map(lambda number: report(keywell, number), range(PAYMENTS))
        during = [scrape(keywell) for _ in range(10)]
        assert list(ids) == [f"shop-{number}" for number in range(PAYMENTS)]

    counts = [found.get(accepted, 0) for found in [before, *during, scrape(keywell)]]
    assert counts == sorted(counts)
    assert counts[-1] - counts[0] == PAYMENTS
    assert all(found["keywell_part_up", part] == 1 for found in during for part in ("database", "queues", "counters"))

    keywell.wait_until(lambda: scrape(keywell).get(("keywell_deliveries_total", "sent"), 0) >= PAYMENTS)
    found = scrape(keywell)
    assert [found["keywell_service_processes", service] for service in ("celery", "callouts", "beat")] == [1, 1, 1]
    assert found["keywell_payment_seconds_count", "accepted"] == found[accepted]
    keywell.wait_until(lambda: ("keywell_outgoing_request_seconds_count", "2xx", "webhook") in scrape(keywell))


def test_one_request_id_is_in_the_logs_the_email_and_the_webhook(keywell, sink, receiver):
    report(keywell, 70_000)
    request_id = "shop-70000"
    keywell.wait_until(lambda: sink.texts("customer70000@example.com") and request_id in receiver.ids)

    def logged(service, logger):
        return [
            entry["message"]
            for entry in entries(keywell, service)
            if entry.get("request_id") == request_id and entry["logger"] == logger
        ]

    [line] = logged("web", "portal.observation")
    assert line.startswith("POST /api/v1/payments/ 201 ")
    keywell.wait_until(lambda: logged("worker", "work.attempts") and logged("callouts", "work.attempts"))
    assert [line.partition(" ")[0] for line in logged("worker", "work.attempts")] == ["delivery"]
    assert [line.partition(" ")[0] for line in logged("callouts", "work.attempts")] == ["webhookmessage"]
    [message] = [message for message in sink.messages if message["To"] == "customer70000@example.com"]
    assert message["X-Request-ID"] == request_id


def test_counters_survive_a_worker_that_is_killed(keywell, sink, receiver):
    sent = ("keywell_deliveries_total", "sent")
    before = scrape(keywell)[sent]
    worker = keywell.worker()
    os.kill(worker, signal.SIGKILL)
    keywell.wait_until(lambda: keywell.worker() not in {worker, None})
    report(keywell, 80_000)

    keywell.wait_until(lambda: scrape(keywell)[sent] > before)
    files = len(list((keywell.var / "metrics").glob("counter_*.db")))
    assert files <= len(keywell.family())
