"""How long a healthy vendor's codes take, from the payment until they are saved, while others misbehave."""

import itertools
import json
import os
import random
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from pathlib import Path

import psycopg

from benchmarks.imports import database_url
from benchmarks.payments import post, read_env
from runtime.tests.installation import PROJECT, Keywell, free_port, wait_until
from runtime.tests.sink import Sink

ROUNDS = 3
SECONDS = 30  # of payments in each part of a round
PAYMENTS_A_SECOND = 4
OTHERS_PACE = 2  # seconds between two payments of each other vendor
MISBEHAVING = ["hang", "drip", "500", "429", "close-midway", "hold", "large", "redirect", "too-few", "hang"]
MAKE_SERVICES = """
from fulfillment.chains import add_source
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
# Nobody shall wait for what an earlier round left behind, and no breaker be open already.
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
    with tempfile.TemporaryDirectory() as folder:
        sink = Sink(free_port())
        sink.start()
        keywell = Keywell(Path(folder) / "var")
        vendors: list[subprocess.Popen[bytes]] = []
        try:
            env = install(keywell, sink, Path(folder), vendors)
            compare(keywell, env)
        finally:
            for process in [keywell.process, *vendors]:
                process.terminate()
                process.wait()
            sink.stop()


def install(keywell: Keywell, sink: Sink, folder: Path, vendors: list[subprocess.Popen[bytes]]) -> dict[str, str]:
    """Make the demo's data, eleven vendors that are well and ten that are not; then run as in production."""
    keywell.start()
    keywell.process.terminate()
    keywell.process.wait()
    secret = f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"
    behaviours = {"WELL": ""}
    behaviours |= {f"BAD-{number}": behaviour for number, behaviour in enumerate(MISBEHAVING)}
    behaviours |= {f"GOOD-{number}": "" for number in range(len(MISBEHAVING))}
    services = {}
    for name, behaviour in behaviours.items():
        port = free_port()
        command = [sys.executable, "examples/vendor/misbehave.py", "--port", str(port)]
        command += ["--database", str(folder / f"{name}.sqlite3")]
        vendors.append(subprocess.Popen(command, cwd=PROJECT, env=os.environ | {"VENDOR_SECRETS": secret}))
        services[name] = f"http://127.0.0.1:{port}/{behaviour}"
    settings = read_env(keywell.var / "secrets.env")
    settings |= {"EMAIL_URL": f"smtp://127.0.0.1:{sink.port}", "CALLOUT_NETWORKS": "127.0.0.0/8"}
    keywell.start(DJANGO_DEBUG="off", **settings)
    made = keywell.run("manage", "shell", "--no-imports", "-c", MAKE_SERVICES.format(services=services, secret=secret))
    assert made.returncode == 0, made.stderr
    return read_env(keywell.var / "demo.env")


def compare(keywell: Keywell, env: dict[str, str]) -> None:
    numbers = itertools.count()
    good, bad = ([f"{kind}-{number}" for number in range(len(MISBEHAVING))] for kind in ("GOOD", "BAD"))
    with psycopg.connect(database_url(keywell), autocommit=True) as connection:
        sell(env, ["WELL"], numbers)  # so that all is warm
        rounds = []
        for _ in range(ROUNDS):
            alone = p95(connection, sell(env, ["WELL"], numbers))
            among_good = p95(connection, sell(env, ["WELL", *good], numbers))
            among_bad = p95(connection, sell(env, ["WELL", *bad], numbers))
            connection.execute(FORGET)
            rounds.append((alone, among_good, among_bad))
    times = [1000 * statistics.median(times) for times in zip(*rounds, strict=True)]
    ratio = statistics.median(among_bad / alone for alone, _, among_bad in rounds)
    print(
        f"ms from a payment to its saved code, 95th percentile, {PAYMENTS_A_SECOND} a second: alone {times[0]:.0f};"
        f" while {len(bad)} other vendors get one each every {OTHERS_PACE} s: who answer {times[1]:.0f}, who misbehave"
        f" {times[2]:.0f}; ratio to alone {ratio:.2f}"
    )


def sell(env: dict[str, str], skus: list[str], numbers: "itertools.count[int]") -> dict[str, float]:
    """Report payments for a while; return when those of the healthy vendor were sent, by order number."""
    sent: dict[str, float] = {}
    closed = threading.Event()

    def shop(sku: str, pace: float) -> None:
        closed.wait(random.uniform(0, pace))  # or all others would pay at the same moments
        while not closed.wait(pace):
            number = f"W{next(numbers)}-{secrets.token_hex(3)}"
            if sku == "WELL":
                sent[number] = time.time()
            assert post(env, "payments/", json.dumps(payment(number, sku))) == 201

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
    """In seconds; every one of them has to get its code."""
    wait_until(lambda: len(done(connection, sent)) == len(sent), patience=60)
    took = [float(at) - sent[number] for number, at in done(connection, sent)]
    return statistics.quantiles(took, n=20)[18]


def done(connection: psycopg.Connection, sent: dict[str, float]) -> list[tuple[str, float]]:
    return connection.execute(DONE, [list(sent)]).fetchall()


def payment(number: str, sku: str) -> dict:
    return {
        "order": number,
        "paid_at": "2026-11-22T10:00:00Z",
        "currency": "EUR",
        "customer": {"email": "ada@example.com"},
        "items": [{"item": "1", "product": sku, "quantity": 1, "total_price": "19.98"}],
    }


if __name__ == "__main__":
    main()
