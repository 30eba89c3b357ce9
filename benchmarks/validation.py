"""Compares validations per second, each with an API key, with a DRF view without authentication that reads one row."""

import argparse
import http.client
import importlib
import os
import time
from base64 import b64encode
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from benchmarks.harness import cpu_seconds, database, serve, services_of
from benchmarks.results import record
from runtime.tests.installation import descendants

GOAL, CPU_GOAL = "at least 0.55", "at most 1.8"
CLIENTS = 4
REQUESTS = 600  # per round


@dataclass(frozen=True)
class Target:
    """A server and the request to repeat."""

    port: int
    path: str
    headers: tuple[tuple[str, str], ...] = ()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, metavar="N")
    parser.add_argument("--licensees", type=int, default=20_000, metavar="N", help="that the vendor has in addition")
    options = parser.parse_args()

    with database():
        key = importlib.import_module("benchmarks.validation_licensee").fill(options.licensees)
        credentials = b64encode(f"apiKey:{key}".encode()).decode()
        server = ["runtime.web", "--application"]
        with (
            serve([*server, "portal.wsgi", "--address"]) as port,
            serve([*server, "benchmarks.floors", "--address"]) as floor_port,
        ):
            headers = (("Authorization", f"Basic {credentials}"),)
            compare(
                Target(port, "/core/v2/rest/licensee/I-1/validate", headers),
                Target(floor_port, "/row/P-1"),
                options.rounds,
            )


def compare(ours: Target, floor: Target, rounds: int) -> None:
    with ProcessPoolExecutor(CLIENTS) as clients:
        for target in (ours, floor):
            rate(clients, target)
        measured = [(rate(clients, ours), rate(clients, floor)) for _ in range(rounds)]
    for number, (what, unit, goal) in enumerate(
        [("validations", "per second", GOAL), ("CPU per validation", "ms", CPU_GOAL)]
    ):
        pairs = [(mine[number], other[number]) for mine, other in measured]
        record(what, pairs, unit=unit, baseline="one row by a DRF view", goal=goal, digits=2, clients=CLIENTS)


def rate(clients: ProcessPoolExecutor, target: Target) -> tuple[float, float]:
    """Return requests per second, and the CPU milliseconds per request of web server and PostgreSQL."""
    start, before = time.perf_counter(), used(target)
    list(clients.map(ask, [target] * CLIENTS))
    seconds = time.perf_counter() - start
    return REQUESTS / seconds, 1000 * (used(target) - before) / REQUESTS


def used(target: Target) -> float:
    mine = descendants(os.getpid())
    web = [pid for pid, command in mine.items() if command.rstrip().endswith(f":{target.port}")]
    return cpu_seconds([*web, *services_of(os.getpid())["postgres"]])


def ask(target: Target) -> None:
    """Send one client's requests of a round, over one connection while the server keeps it open."""
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=60)
    for _ in range(REQUESTS // CLIENTS):
        connection.request("POST", target.path, b"", dict(target.headers))
        response = connection.getresponse()
        response.read()
        assert response.status == 200, response.status
    connection.close()


if __name__ == "__main__":
    main()
