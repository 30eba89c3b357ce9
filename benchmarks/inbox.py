"""Measures how fast the inbox of a shop takes events, against a view that inserts one row, and how long it takes."""

import argparse
import itertools
import json
import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from benchmarks.harness import (
    JSON,
    Client,
    cpu_by_service,
    encode,
    paused,
    payment,
    production,
    run_script,
    send_all,
    serve,
    services_of,
    settings_of,
)
from benchmarks.results import record
from runtime.tests.installation import Keywell
from shops.tests.senders import SECRET, make_order, sign

WORKERS = ("worker", "callouts", "imports", "beat")
CONNECT = f"""
from merchants.models import Merchant
from shops.connecting import connect
print(connect(Merchant.objects.live().order_by("pk")[0], "woocommerce", secret={SECRET!r}).url)
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inbox", description=__doc__)
    parser.add_argument("--clients", type=int, default=16, metavar="N", help="connections (16)")
    parser.add_argument("--events", type=int, default=400, metavar="N", help="per round (400)")
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--rate", type=int, default=50, metavar="N", help="events per second while workers run (50)")
    options = parser.parse_args()
    with production() as (keywell, _, _sink):
        path = urlsplit(run_script(keywell, CONNECT)).path
        requests = make_requests(path)
        compare(keywell, requests, options)
        measure_delay(keywell, requests, options)


def make_requests(path: str) -> Iterator[bytes]:
    """Signed orders with different numbers, as WooCommerce sends them."""
    for number in itertools.count(1000):
        order = make_order(id=number, number=str(number))
        order["line_items"][0] |= {"sku": "PHOTO-LITE", "quantity": 1}
        body = json.dumps(order)
        yield encode(path, body, {"Content-Type": JSON, "X-WC-Webhook-Signature": sign(body.encode())})


def compare(keywell: Keywell, requests: Iterator[bytes], options: argparse.Namespace) -> None:
    with serve(["runtime.web", "--application", "benchmarks.floors", "--address"], settings_of(keywell)) as floor_port:
        numbers = itertools.count()
        rows = (encode("/api/v1/payments/", payment(f"B{number}"), {"Content-Type": JSON}) for number in numbers)
        servers = [(keywell.port, "web", requests), (floor_port, "floor", rows)]
        clients = {port: [Client(port) for _ in range(options.clients)] for port, _, _ in servers}

        def measure(port: int, service: str, source: Iterator[bytes]) -> tuple[float, float]:
            """Return events per second, and CPU milliseconds per event."""
            batch = list(itertools.islice(source, options.events))
            floor = services_of(os.getpid())["web"]
            before = cpu_by_service(keywell, floor=floor)
            seconds = send_all(clients[port], batch)
            spent = cpu_by_service(keywell, floor=floor) - before
            cpu = sum(spent[name] for name in (service, "postgres", "valkey"))
            return options.events / seconds, 1000 * cpu / options.events

        with paused(keywell, *WORKERS):
            for server in servers:
                measure(*server)
            rounds = [[measure(*server) for server in servers] for _ in range(options.rounds)]
    sizes = {"connections": options.clients, "events": options.events}
    baseline = "one INSERT by a DRF view"
    record(
        "events of shops",
        [(ours[0], other[0]) for ours, other in rounds],
        unit="per second",
        goal="at least 0.50",
        baseline=baseline,
        **sizes,
    )
    record(
        "CPU per event",
        [(ours[1], other[1]) for ours, other in rounds],
        unit="ms",
        digits=2,
        baseline=baseline,
        **sizes,
    )


def measure_delay(keywell: Keywell, requests: Iterator[bytes], options: argparse.Namespace) -> None:
    """Record the 99th percentile of the inbox's answers, while workers translate the events, and without workers."""

    def measure() -> float:
        batch = list(itertools.islice(requests, options.events))
        clients = [Client(keywell.port) for _ in range(options.clients)]
        start = time.perf_counter()

        def send(number: int) -> float:
            client = clients[number % len(clients)]
            time.sleep(max(0.0, start + number / options.rate - time.perf_counter()))
            began = time.perf_counter()
            assert client.send(batch[number]) == 200
            return 1000 * (time.perf_counter() - began)

        with ThreadPoolExecutor(options.clients) as threads:
            shares = [range(first, len(batch), options.clients) for first in range(options.clients)]
            times = [
                delay
                for share in threads.map(lambda share: [send(number) for number in share], shares)
                for delay in share
            ]
        return statistics.quantiles(times, n=100)[98]

    pairs = []
    for _ in range(options.rounds):
        working = measure()
        with paused(keywell, *WORKERS):
            pairs.append((working, measure()))
    sizes = {"events per second": options.rate, "connections": options.clients}
    record(
        "99th percentile of taking an event while workers translate",
        pairs,
        unit="ms",
        goal="under 200 ms",
        baseline="the same while workers are suspended",
        **sizes,
    )


if __name__ == "__main__":
    main()
