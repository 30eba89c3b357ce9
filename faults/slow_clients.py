"""Opens 500 connections that send slowly or nothing, while it requests `/healthz` and reports payments.

With `--servers` it compares web servers with the same application; it needs gunicorn and granian for that.
"""

import argparse
import contextlib
import itertools
import resource
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator

from benchmarks.harness import ask, payment, production, serve, settings_of
from runtime.tests.installation import wait_until

CONNECTIONS = 500
REQUESTS = 40
ROUNDS = 3
# Seconds after which a request counts as unanswered.
TIMEOUT = 10

SERVERS = {
    "sync": ["gunicorn", "portal.wsgi", "--workers", "3", "--preload", "--no-control-socket", "--bind"],
    "gthread": ["gunicorn", "portal.wsgi", "--worker-class", "gthread", "--workers", "2", "--threads", "16"]
    + ["--preload", "--no-control-socket", "--bind"],
    "granian": ["granian", "portal.wsgi:application", "--interface", "wsgi", "--workers", "2"]
    + ["--blocking-threads", "4", "--http", "1", "--no-ws", "--port"],
    "waitress": ["runtime.web", "--address"],
}

numbers = itertools.count(int(time.time() * 1000))


class SlowClient:
    def __init__(self, port: int, key: str) -> None:
        self.port, self.key = port, key

    def ask(self, method: str, path: str, body: str | None = None) -> float:
        """Return the seconds until the answer. Raises OSError if there is none."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        status, _, seconds = ask(self.port, method, path, body, headers, timeout=TIMEOUT)
        assert status in (200, 201), status
        return seconds

    def healthz(self) -> float:
        return self.ask("GET", "/healthz")

    def pay(self) -> float:
        return self.ask("POST", "/api/v1/payments/", payment(f"B{next(numbers)}"))

    def answers(self) -> bool:
        with contextlib.suppress(OSError, AssertionError):
            return bool(self.healthz())
        return False

    @contextlib.contextmanager
    def slow_connections(self, count: int) -> Iterator[None]:
        header = f"POST /api/v1/payments/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.key}\r\n"
        beginnings = [
            "",
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
            f"{header}Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{{",
        ]
        connections = []
        for beginning in itertools.islice(itertools.cycle(beginnings), count):
            connection = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)
            connection.sendall(beginning.encode())
            connections.append((connection, bool(beginning)))
        stopped = threading.Event()

        def drip() -> None:
            while not stopped.wait(1):
                for connection, drips in connections:
                    if drips:
                        with contextlib.suppress(OSError):
                            connection.send(b" ")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            yield
        finally:
            stopped.set()
            dripping.join()
            for connection, _ in connections:
                connection.close()


def median_of(act: Callable[[], float]) -> float:
    seconds = []
    for _ in range(REQUESTS):
        try:
            seconds.append(act())
        except OSError:
            return float("inf")
    return statistics.median(seconds)


def measure(client: SlowClient) -> dict[str, float]:
    return {"healthz": median_of(client.healthz), "payment": median_of(client.pay)}


def compare(name: str, client: SlowClient) -> bool:
    """Print the ratio of both requests with slow connections to those without, in alternating rounds."""
    ratios: dict[str, list[float]] = {"healthz": [], "payment": []}
    times: dict[str, list[float]] = {"healthz": [], "payment": []}
    for _ in range(ROUNDS):
        alone = measure(client)
        with client.slow_connections(CONNECTIONS):
            beside = measure(client)
        for what in ratios:
            ratios[what].append(beside[what] / alone[what])
            times[what].append(alone[what])
        if float("inf") in beside.values():
            break
    for what, values in ratios.items():
        ratio = statistics.median(values)
        told = f"{ratio:.2f} times as long" if ratio < float("inf") else f"no answer within {TIMEOUT} s"
        alone_ms = 1000 * statistics.median(times[what])
        print(f"{name}: {what} {alone_ms:.0f} ms; with {CONNECTIONS} slow connections {told}", flush=True)
    return all(statistics.median(values) <= 2 for values in ratios.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=[])
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    with production() as (keywell, env, _):
        for name in options.servers:
            with serve(SERVERS[name], settings_of(keywell)) as port:
                client = SlowClient(port, env["API_KEY"])
                wait_until(client.answers, timeout=60)
                compare(name, client)
        if options.servers:
            return 0
        return 0 if compare("Keywell", SlowClient(keywell.port, env["API_KEY"])) else 1


if __name__ == "__main__":
    sys.exit(main())
