"""Payments a second, and the time until their mail is at the mail server, each beside its floor."""

import http.client
import itertools
import json
import smtplib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runtime.tests.installation import PROJECT, Keywell, free_port, wait_until
from runtime.tests.sink import Sink

CLIENTS = 8
PAYMENTS = 400  # a round
ROUNDS = 5
MAILS = 40


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        sink = Sink(free_port())
        sink.start()
        keywell = Keywell(Path(folder) / "var")
        try:
            env = install(keywell, sink)
            compare_payments(keywell, env)
            compare_mails(env, sink)
        finally:
            keywell.process.terminate()
            keywell.process.wait()
            sink.stop()


def install(keywell: Keywell, sink: Sink) -> dict[str, str]:
    """Make the demo's data, then run as in production. Return what demo.env holds."""
    keywell.start()
    keywell.process.terminate()
    keywell.process.wait()
    secrets = read_env(keywell.var / "secrets.env")
    keywell.start(DJANGO_DEBUG="off", EMAIL_URL=f"smtp://127.0.0.1:{sink.port}", **secrets)
    keys = "\n".join(f"BENCH-{number:06}" for number in range(20_000))
    env = read_env(keywell.var / "demo.env")
    assert post(env, "pools/2/keys/", keys, "text/plain") == 201
    return env


def compare_payments(keywell: Keywell, env: dict[str, str]) -> None:
    floor_env = env | {"BASE_URL": f"http://127.0.0.1:{free_port()}"}
    floor = start_floor(keywell, floor_env)
    numbers = itertools.count()
    try:
        wait_until(lambda: answers(floor_env))
        rounds = [(rate(env, numbers), rate(floor_env, numbers)) for _ in range(ROUNDS)]
    finally:
        floor.terminate()
        floor.wait()
    ours, floors = (statistics.median(rates) for rates in zip(*rounds, strict=True))
    ratio = statistics.median(ours / floor for ours, floor in rounds)
    print(f"payments/s, {CLIENTS} clients: {ours:.0f}; one INSERT by a DRF view: {floors:.0f}; ratio {ratio:.2f}")


def start_floor(keywell: Keywell, env: dict[str, str]) -> subprocess.Popen[bytes]:
    database = keywell.run("manage", "shell", "--no-imports", "-c", "import os; print(os.environ['DATABASE_URL'])")
    given = {"DATABASE_URL": database.stdout.strip(), "BROKER_URL": "memory://"} | read_env(
        keywell.var / "secrets.env"
    )
    settings = {name: value for name, value in keywell.environment(**given).items() if value}
    address = env["BASE_URL"].removeprefix("http://")
    command = [sys.executable, "-m", "runtime.web", "--application", "benchmarks.floor", "--address", address]
    return subprocess.Popen(command, cwd=PROJECT, env=settings, stderr=subprocess.DEVNULL)


def rate(env: dict[str, str], numbers: "itertools.count[int]") -> float:
    """Payments a second, answered with 201."""
    bodies = [json.dumps(payment(next(numbers))) for _ in range(PAYMENTS)]
    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        statuses = list(clients.map(lambda body: post(env, "payments/", body), bodies))
    seconds = time.perf_counter() - start
    assert set(statuses) == {201}, set(statuses)
    return PAYMENTS / seconds


def compare_mails(env: dict[str, str], sink: Sink) -> None:
    wait_until(lambda: settled(sink), patience=120)
    ours, floors = [], []
    for number in range(MAILS):
        body = json.dumps(payment(1_000_000 + number))
        ours.append(until_mailed(sink, post, env, "payments/", body))
        floors.append(until_mailed(sink, send_directly, sink))
    ratio = statistics.median(ours) / statistics.median(floors)
    print(
        f"ms from sending the payment to its mail at the mail server: median {1000 * statistics.median(ours):.0f},"
        f" slowest of {MAILS} {1000 * max(ours):.0f};"
        f" a mail handed over directly: {1000 * statistics.median(floors):.0f}; ratio {ratio:.1f}"
    )


def settled(sink: Sink) -> bool:
    before = len(sink.messages)
    time.sleep(2)
    return len(sink.messages) == before


def until_mailed(sink: Sink, act: Callable[..., object], *arguments: object) -> float:
    before, start = len(sink.messages), time.perf_counter()
    act(*arguments)
    while len(sink.messages) == before:
        time.sleep(0.001)
    return time.perf_counter() - start


def send_directly(sink: Sink) -> None:
    with smtplib.SMTP("127.0.0.1", sink.port) as server:
        server.sendmail("shop@example.com", ["ada@example.com"], "Subject: a license\n\nAAAA-BBBB-CCCC\n")


def payment(number: int) -> dict:
    return {
        "order": f"B{number}",
        "paid_at": "2026-11-22T10:00:00Z",
        "currency": "EUR",
        "customer": {"email": "ada@example.com"},
        "items": [{"item": "1", "product": "PHOTO-LITE", "quantity": 1, "total_price": "19.98"}],
    }


def post(env: dict[str, str], path: str, body: str, content_type: str = "application/json") -> int:
    connection = http.client.HTTPConnection(env["BASE_URL"].removeprefix("http://"), timeout=60)
    headers = {"Authorization": f"Bearer {env['API_KEY']}", "Content-Type": content_type}
    connection.request("POST", f"/api/v1/{path}", body, headers)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


def answers(env: dict[str, str]) -> bool:
    try:
        return post(env, "payments/", '{"order": "first"}') == 201
    except OSError:
        return False


def read_env(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


if __name__ == "__main__":
    main()
