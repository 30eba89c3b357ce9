"""Compares web servers with the one that Keywell uses: payments per second and CPU time per payment.

Leaves out servers that are not installed. With `--floor`, requests insert one row, so that the server weighs more.
"""

import argparse
import itertools
import os
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

from benchmarks.harness import (
    JSON,
    Client,
    Env,
    cpu_by_service,
    cpu_seconds,
    encode,
    paused,
    payment,
    production,
    send_all,
    serve,
    settings_of,
)
from benchmarks.results import record
from runtime.tests.installation import Keywell, descendants

OURS = "waitress 2 x 4"
GUNICORN = ["--preload", "--no-control-socket", "--keep-alive", "60", "--bind"]
GRANIAN = ["--interface", "wsgi", "--http", "1", "--no-ws", "--workers", "2", "--blocking-threads"]
SERVERS = {
    OURS: ["runtime.web", "--application", "{module}", "--processes", "2", "--address"],
    "waitress 3 x 4": ["runtime.web", "--application", "{module}", "--processes", "3", "--address"],
    "waitress 2 x 2": ["runtime.web", "--application", "{module}", "--processes", "2", "--threads", "2", "--address"],
    "waitress 2 x 8": ["runtime.web", "--application", "{module}", "--processes", "2", "--threads", "8", "--address"],
    "gunicorn sync 3": ["gunicorn", "{module}", "--workers", "3", *GUNICORN],
    "gunicorn gthread 2 x 16": ["gunicorn", "{module}", "--workers", "2", "--threads", "16", *GUNICORN],
    "granian 2 x 4": ["granian", "{module}:application", *GRANIAN, "4", "--port"],
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--requests", type=int, default=200, metavar="N", help="per round (200)")
    parser.add_argument("--clients", type=int, default=16, metavar="N")
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS), help="beside the first")
    parser.add_argument("--floor", action="store_true", help="insert one row instead of a payment")
    options = parser.parse_args()
    with production() as (keywell, env, _), paused(keywell, "worker", "callouts", "web"):
        for persistent in (True, False):
            compare(keywell, env, options, persistent=persistent)


def compare(keywell: Keywell, env: Env, options: argparse.Namespace, *, persistent: bool) -> None:
    headers = {"Authorization": f"Bearer {env['API_KEY']}", "Content-Type": JSON}
    if not persistent:
        headers["Connection"] = "close"
    numbers = itertools.count(0 if persistent else 1_000_000)
    module = "benchmarks.floors" if options.floor else "portal.wsgi"
    settings = settings_of(keywell)
    with ExitStack() as stack:
        clients = {}
        for name, command in SERVERS.items():
            if name in {OURS, *options.servers} and find_spec(command[0].partition(".")[0]):
                port = stack.enter_context(serve([part.format(module=module) for part in command], settings))
                clients[name] = [Client(port, persistent=persistent) for _ in range(options.clients)]

        def measure(name: str) -> tuple[float, float]:
            """Return requests per second, and the CPU milliseconds per request of web server and PostgreSQL."""
            bodies = [payment(f"B{next(numbers)}") for _ in range(options.requests)]
            requests = [encode("/api/v1/payments/", body, headers) for body in bodies]
            before = used(keywell)
            seconds = send_all(clients[name], requests)
            for client in clients[name]:
                # Chance decides which process accepts a connection, and must not decide all rounds.
                client.close()
            return options.requests / seconds, 1000 * (used(keywell) - before) / options.requests

        for name in clients:
            measure(name)
        rounds = [{name: measure(name) for name in clients} for _ in range(options.rounds)]
    what = "rows inserted" if options.floor else "payments"
    sizes: dict[str, Any] = {"persistent connections" if persistent else "new connections": options.clients}
    for name in clients.keys() - {OURS}:
        for number, (measure_name, unit) in enumerate([(what, "per second"), (f"CPU of {what}", "ms")]):
            pairs = [(each[name][number], each[OURS][number]) for each in rounds]
            connections = "persistent" if persistent else "new"
            record(f"{measure_name}, {name}, {connections}", pairs, unit=unit, baseline=OURS, digits=2, **sizes)


def used(keywell: Keywell) -> float:
    """Return the CPU seconds so far of PostgreSQL and of all web servers that this process started."""
    pids = descendants(os.getpid()).keys() - descendants(keywell.process.pid).keys()
    return cpu_seconds(pids - {keywell.process.pid}) + cpu_by_service(keywell)["postgres"]


if __name__ == "__main__":
    main()
