"""Measures the time from a payment until a healthy vendor's code is saved, while other vendors misbehave."""

import itertools
import os
import random
import secrets
import statistics
import subprocess
import sys
import threading
import time
from base64 import b64encode
from typing import Any

import psycopg

from benchmarks.harness import (
    Env,
    installation,
    payment,
    post,
    read_env,
    restart_in_production,
    run_script,
    settings_of,
)
from benchmarks.results import record
from runtime.tests.installation import PROJECT, Keywell, free_port, wait_until
from runtime.tests.sink import Sink

ROUNDS = 5
SECONDS = 30  # seconds of payments in each part of a round
PAYMENTS_A_SECOND = 4
OTHERS_PACE = 2  # seconds between two payments of each of the other vendors
MISBEHAVING = ["hang", "drip", "500", "429", "close-midway", "hold", "large", "redirect", "too-few", "hang"]
MAKE_SERVICES = """
from fulfillment.product_sources import add_source
from fulfillment.sources.web_service.models import WebService
from fulfillment.sources.web_service.parameters import add_defaults
from merchants.models import CheckoutPage, Merchant, Product
merchant = Merchant.objects.get()
for sku, url in {services}.items():
    product = Product.objects.create(merchant=merchant, sku=sku, name=sku)
    service = WebService.objects.create(merchant=merchant, name=sku, secret="{secret}", url=url, timeout=15)
    add_defaults(service)
    add_source(product, "web_service", service)
"""
# Remove work and open circuit breakers from earlier rounds.
FORGET = """
UPDATE fulfillment_fulfillment SET due_at = NULL, status = 'failed' WHERE status IN ('waiting', 'pending');
UPDATE outbound_upstream SET failures = 0, failing_since = NULL, paused_at = NULL, probe_at = NULL
"""
DONE = """
SELECT o.number, extract(epoch FROM f.done_at) FROM fulfillment_fulfillment f
JOIN orders_orderitem i ON i.id = f.item_id JOIN orders_order o ON o.id = i.order_id
WHERE o.number = ANY(%s) AND f.status = 'done'
"""


def main() -> None:
    vendors: list[subprocess.Popen[bytes]] = []
    with installation() as (keywell, sink):
        try:
            make_vendors(keywell, sink, vendors)
            compare(keywell, read_env(keywell.var / "demo.env"))
        finally:
            for process in vendors:
                process.terminate()
                process.wait()


def make_vendors(keywell: Keywell, sink: Sink, vendors: list[subprocess.Popen[bytes]]) -> None:
    """Create the demo's data, eleven healthy vendors and ten others; then run as in production."""
    restart_in_production(keywell, sink, CALLOUT_NETWORKS="127.0.0.0/8")
    secret = f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"
    behaviours = {"WELL": ""}
    behaviours |= {f"BAD-{number}": behavior for number, behavior in enumerate(MISBEHAVING)}
    behaviours |= {f"GOOD-{number}": "" for number in range(len(MISBEHAVING))}
    services = {}
    for name, behavior in behaviours.items():
        port = free_port()
        command = [sys.executable, "examples/vendor/misbehave.py", "--port", str(port)]
        command += ["--database", str(keywell.var.with_name(f"{name}.sqlite3"))]
        vendors.append(subprocess.Popen(command, cwd=PROJECT, env=os.environ | {"VENDOR_SECRETS": secret}))
        services[name] = f"http://127.0.0.1:{port}/{behavior}"
    run_script(keywell, MAKE_SERVICES.format(services=services, secret=secret))


def compare(keywell: Keywell, env: Env) -> None:
    numbers = itertools.count()
    good, bad = ([f"{kind}-{number}" for number in range(len(MISBEHAVING))] for kind in ("GOOD", "BAD"))
    with psycopg.connect(settings_of(keywell)["DATABASE_URL"], autocommit=True) as connection:
        sell(env, ["WELL"], numbers)  # warm up
        rounds = []
        for _ in range(ROUNDS):
            alone = p95(connection, sell(env, ["WELL"], numbers))
            among_good = p95(connection, sell(env, ["WELL", *good], numbers))
            among_bad = p95(connection, sell(env, ["WELL", *bad], numbers))
            connection.execute(FORGET)
            rounds.append((alone, among_good, among_bad))
    sizes: dict[str, Any] = {
        "payments_per_second": PAYMENTS_A_SECOND,
        "other_vendors": len(bad),
        "seconds_between": OTHERS_PACE,
    }
    for place, others in enumerate(["answering", "misbehaving"], start=1):
        pairs = [(1000 * times[place], 1000 * times[0]) for times in rounds]
        measure = f"p95 from a payment to its code from a web service, among {others} ones"
        record(measure, pairs, unit="ms", baseline="the web service alone", goal="at most 2", **sizes)


def sell(env: Env, skus: list[str], numbers: "itertools.count[int]") -> dict[str, float]:
    """Report payments for a while; return the times of the healthy vendor's payments by order number."""
    sent: dict[str, float] = {}
    closed = threading.Event()

    def shop(sku: str, pace: float) -> None:
        closed.wait(random.uniform(0, pace))  # otherwise all others would pay at the same moments
        while not closed.wait(pace):
            number = f"W{next(numbers)}-{secrets.token_hex(3)}"
            if sku == "WELL":
                sent[number] = time.time()
            assert post(env, "payments/", payment(number, sku)) == 201

    paces = {sku: 1 / PAYMENTS_A_SECOND if sku == "WELL" else OTHERS_PACE for sku in skus}
    shops = [threading.Thread(target=shop, args=pace) for pace in paces.items()]
    for thread in shops:
        thread.start()
    time.sleep(SECONDS)
    closed.set()
    for thread in shops:
        thread.join()
    return sent


def p95(connection: psycopg.Connection, sent: dict[str, float]) -> float:
    """Return the 95th percentile in seconds, after every payment has its code."""
    wait_until(lambda: len(done(connection, sent)) == len(sent))
    took = [float(at) - sent[number] for number, at in done(connection, sent)]
    return statistics.quantiles(took, n=20)[18]


def done(connection: psycopg.Connection, sent: dict[str, float]) -> list[tuple[str, float]]:
    return connection.execute(DONE, [list(sent)]).fetchall()


if __name__ == "__main__":
    main()
