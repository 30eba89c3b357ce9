"""Measures payments per second and the time until their e-mail reaches the mail server, each against its floor."""

import itertools
import smtplib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.harness import Env, payment, post, production, serve, settings_of
from benchmarks.results import record
from runtime.tests.installation import Keywell, wait_until
from runtime.tests.sink import Sink

CLIENTS = 8
PAYMENTS = 400  # per round
ROUNDS = 5
MAILS = 40


def main() -> None:
    with production() as (keywell, env, sink):
        compare_payments(keywell, env)
        compare_mails(env, sink)


def compare_payments(keywell: Keywell, env: Env) -> None:
    with serve(["runtime.web", "--application", "benchmarks.floors", "--address"], settings_of(keywell)) as port:
        floor_env, numbers = {**env, "BASE_URL": f"http://127.0.0.1:{port}"}, itertools.count()
        rounds = [(rate(env, numbers), rate(floor_env, numbers)) for _ in range(ROUNDS)]
    record("payments", rounds, unit="per second", baseline="one INSERT by a DRF view", clients=CLIENTS)


def rate(env: Env, numbers: "itertools.count[int]") -> float:
    """Return payments per second that are answered with 201."""
    bodies = [payment(f"B{next(numbers)}") for _ in range(PAYMENTS)]
    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        statuses = list(clients.map(lambda body: post(env, "payments/", body), bodies))
    seconds = time.perf_counter() - start
    assert set(statuses) == {201}, set(statuses)
    return PAYMENTS / seconds


def compare_mails(env: Env, sink: Sink) -> None:
    wait_until(lambda: settled(sink), timeout=120)
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
