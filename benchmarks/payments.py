"""Measures payments and their e-mails, and their CPU time on the server, each against its floor."""

import argparse
import itertools
import os
import smtplib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.harness import (
    JSON,
    Client,
    Env,
    cpu_by_service,
    encode,
    paused,
    payment,
    post,
    production,
    send_all,
    serve,
    services_of,
    settings_of,
)
from benchmarks.results import record
from runtime.tests.installation import Keywell, wait_until
from runtime.tests.sink import Sink

MAILS = 40
MAILS_PER_ROUND = 100
# The services that only work after a payment, apart from the database and the broker.
WORKERS = ("worker", "callouts", "imports", "beat")
GOAL, CPU_GOAL = "at least 0.40", "at most 3"


@dataclass
class Server:
    """A web server, the services whose CPU time it uses, and its clients."""

    services: Sequence[str]
    clients: Sequence[Client]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.payments", description=__doc__)
    parser.add_argument("--clients", type=int, default=16, metavar="N", help="connections (16)")
    parser.add_argument("--payments", type=int, default=400, metavar="N", help="per round (400)")
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--new-connections", action="store_true", help="for each payment, instead of persistent ones")
    options = parser.parse_args()
    with production() as (keywell, env, sink):
        compare_payments(keywell, env, options)
        wait_until(lambda: settled(sink))
        compare_mails(keywell, env, sink, options.rounds)
        compare_times(env, sink)


def compare_payments(keywell: Keywell, env: Env, options: argparse.Namespace) -> None:
    headers = {"Authorization": f"Bearer {env['API_KEY']}", "Content-Type": JSON}
    if options.new_connections:
        headers["Connection"] = "close"
    numbers = itertools.count()
    with serve(["runtime.web", "--application", "benchmarks.floors", "--address"], settings_of(keywell)) as floor_port:

        def used() -> Counter[str]:
            return cpu_by_service(keywell, floor=services_of(os.getpid())["web"])

        def connect(port: int, service: str) -> Server:
            clients = [Client(port, persistent=not options.new_connections) for _ in range(options.clients)]
            return Server([service, "postgres", "valkey"], clients)

        def measure(server: Server) -> tuple[float, Counter[str]]:
            """Return payments per second, and the CPU milliseconds per payment of each service."""
            bodies = [payment(f"B{next(numbers)}") for _ in range(options.payments)]
            requests = [encode("/api/v1/payments/", body, headers) for body in bodies]
            before = used()
            seconds = send_all(server.clients, requests)
            spent = used() - before
            cpu = Counter({name: 1000 * spent[name] / options.payments for name in server.services})
            return options.payments / seconds, cpu

        ours, floor = connect(keywell.port, "web"), connect(floor_port, "floor")
        with paused(keywell, *WORKERS):
            for server in (ours, floor):
                measure(server)
            rounds = [(measure(ours), measure(floor)) for _ in range(options.rounds)]
    connections = "new connections" if options.new_connections else "persistent connections"
    sizes: dict[str, Any] = {
        "baseline": "one INSERT by a DRF view",
        connections: options.clients,
        "payments": options.payments,
    }
    speeds = [(mine[0], other[0]) for mine, other in rounds]
    record("payments", speeds, unit="per second", goal=GOAL, **sizes)
    times = [(mine[1].total(), other[1].total()) for mine, other in rounds]
    parts: dict[str, Any] = {
        f"{name} ms": round(median(mine[1][name] for mine, _ in rounds), 2) for name in ("web", "postgres")
    }
    record("CPU per payment", times, unit="ms", goal=CPU_GOAL, digits=2, **sizes, **parts)


def compare_mails(keywell: Keywell, env: Env, sink: Sink, rounds: int) -> None:
    """Compare how fast the worker sends e-mails that wait with sending them directly, one after the other."""
    numbers = itertools.count(500_000)

    def ours() -> tuple[float, float]:
        before = len(sink.messages)
        with paused(keywell, *WORKERS):
            for _ in range(MAILS_PER_ROUND):
                assert post(env, "payments/", payment(f"B{next(numbers)}")) == 201
            cpu, start = cpu_by_service(keywell), time.perf_counter()
        wait_until(lambda: len(sink.messages) >= before + MAILS_PER_ROUND)
        seconds = time.perf_counter() - start
        return MAILS_PER_ROUND / seconds, 1000 * (cpu_by_service(keywell) - cpu).total() / MAILS_PER_ROUND

    def floor() -> tuple[float, float]:
        cpu, start = time.thread_time(), time.perf_counter()
        for _ in range(MAILS_PER_ROUND):
            send_directly(sink)
        seconds = time.perf_counter() - start
        return MAILS_PER_ROUND / seconds, 1000 * (time.thread_time() - cpu) / MAILS_PER_ROUND

    measured = [(ours(), floor()) for _ in range(rounds)]
    for number, (measure, unit) in enumerate([("e-mails", "per second"), ("CPU per e-mail", "ms")]):
        pairs = [(mine[number], other[number]) for mine, other in measured]
        record(measure, pairs, unit=unit, baseline="sent directly, one after the other", digits=1)


def compare_times(env: Env, sink: Sink) -> None:
    pairs = []
    for number in range(MAILS):
        body = payment(f"B{1_000_000 + number}")
        ours = until_mailed(sink, post, env, "payments/", body)
        pairs.append((ours, until_mailed(sink, send_directly, sink)))
    record("from a payment to its e-mail at the mail server", pairs, unit="ms", baseline="an e-mail sent directly")


def settled(sink: Sink) -> bool:
    before = len(sink.messages)
    time.sleep(2)
    return len(sink.messages) == before


def until_mailed(sink: Sink, act: Callable[..., object], *arguments: object) -> float:
    """Return the milliseconds until an e-mail arrives."""
    before, start = len(sink.messages), time.perf_counter()
    act(*arguments)
    while len(sink.messages) == before:
        time.sleep(0.001)
    return 1000 * (time.perf_counter() - start)


def send_directly(sink: Sink) -> None:
    with smtplib.SMTP("127.0.0.1", sink.port) as server:
        server.sendmail("shop@example.com", ["ada@example.com"], "Subject: a license\n\nAAAA-BBBB-CCCC\n")


if __name__ == "__main__":
    main()
