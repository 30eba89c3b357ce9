"""Measures e-mails per second and their CPU time in the worker, and payments whose e-mail has left."""

import contextlib
import itertools
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from benchmarks import bare_mail
from benchmarks.harness import (
    Env,
    install,
    installation,
    payment,
    post,
    run_script,
    serve,
    settings_of,
)
from benchmarks.mail_sink import MailSink, mail_sink
from benchmarks.results import record
from runtime.tests.installation import Keywell, descendants, wait_until

ROUNDS = 5
MAILS = 400  # per round
PAYMENTS = 150  # per round
CLIENTS = 8
PACED_SECONDS = 5
TICKS = os.sysconf("SC_CLK_TCK")
# Orders whose e-mails aren't due yet.
PLACE = """
from django.db import transaction
from django.db.models.functions import Now
from datetime import timedelta
from api.tests.factories import make_payment, place
from delivery.models import Delivery
from merchants.models import Product
product = Product.objects.get(sku="PHOTO-LITE")
with transaction.atomic():
    for number in range({count}):
        place(product.merchant, make_payment(product, order=f"M{{number}}", checkout_page=""))
    Delivery.objects.update(due_at=Now() + timedelta(days=1))
"""
MAKE_DUE = """
UPDATE delivery_delivery SET due_at = now()
WHERE id IN (SELECT id FROM delivery_delivery WHERE due_at IS NOT NULL ORDER BY id LIMIT %s)
"""


def main() -> None:
    with installation() as (keywell, _), mail_sink() as sink:
        env = install(keywell, sink)  # type: ignore[arg-type]
        settings = settings_of(keywell)
        bare_mail.app.conf.update(broker_url=settings["BROKER_URL"])
        with bare_mail.worker(settings, sink.port) as bare_worker:
            compare_mails(keywell, settings, sink, bare_worker)
            compare_payments(env, settings, sink)


def compare_mails(keywell: Keywell, settings: Env, sink: MailSink, bare_worker: int) -> None:
    run_script(keywell, PLACE.format(count=MAILS * (ROUNDS + 1)))

    def queue_ours() -> None:
        with psycopg.connect(settings["DATABASE_URL"]) as connection:
            connection.execute(MAKE_DUE, [MAILS])
        run_script(keywell, "from delivery.models import Delivery; Delivery.objects.nudge_due()")

    def queue_bare() -> None:
        for _ in range(MAILS):
            bare_mail.app.send_task("benchmarks.bare_mail.send", ["ada@example.com"], queue=bare_mail.QUEUE)

    our_worker = keywell.worker()
    assert our_worker
    measured = [
        (measure(our_worker, queue_ours, sink), measure(bare_worker, queue_bare, sink)) for _ in range(ROUNDS + 1)
    ][1:]  # the first one loads modules and compiles templates
    rates = [(ours[0], bare[0]) for ours, bare in measured]
    floor = "a Celery task that sends one"
    record("e-mails of a backlog", rates, unit="per second", baseline=floor, goal="at least 0.6", mails=MAILS)
    times = [(ours[1], bare[1]) for ours, bare in measured]
    record("the worker’s CPU time for an e-mail", times, unit="ms", baseline=floor, digits=1, mails=MAILS)


def measure(worker: int, queue: Callable[[], None], sink: MailSink) -> tuple[float, float]:
    """Return e-mails per second, and milliseconds of CPU time for each."""
    with stopped(worker):
        queue()
        used = cpu_seconds(worker)
        before, start = len(sink.arrivals), time.perf_counter()
    wait_until(lambda: len(sink.arrivals) >= before + MAILS)
    seconds = sink.arrivals[before + MAILS - 1][1] - start
    time.sleep(1)  # the end of the tasks
    return MAILS / seconds, 1000 * (cpu_seconds(worker) - used) / MAILS


@contextlib.contextmanager
def stopped(worker: int) -> Iterator[None]:
    """Stop a worker's processes, so that it finds everything queued when they continue."""
    for pid in family(worker):
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in family(worker):
            os.kill(pid, signal.SIGCONT)


def family(worker: int) -> list[int]:
    return [worker, *descendants(worker)]


def cpu_seconds(worker: int) -> float:
    ticks = 0
    for pid in family(worker):
        ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / TICKS


def compare_payments(env: Env, settings: Env, sink: MailSink) -> None:
    command = ["runtime.web", "--application", "benchmarks.floors", "--address"]
    with serve(command, settings) as port:
        floor = {**env, "BASE_URL": f"http://127.0.0.1:{port}", "PATH": "mailed-payments/"}
        numbers = itertools.count()
        rounds = [(mailed_rate(env, sink, numbers), mailed_rate(floor, sink, numbers)) for _ in range(ROUNDS)]
        record(
            "payments until their e-mails have left",
            rounds,
            unit="per second",
            baseline="one INSERT by a DRF view, and a Celery task that sends an e-mail",
            goal="at least 0.35",
            clients=CLIENTS,
        )
        rate = statistics.median(ours for ours, _ in rounds) / 2
        pairs = [(slowest(env, sink, numbers, rate), slowest(floor, sink, numbers, rate)) for _ in range(ROUNDS)]
    record(
        "99th percentile from the answer to the e-mail, at half the maximum",
        pairs,
        unit="ms",
        baseline="the same",
        goal="under 1 s",
        payments_per_second=round(rate),
    )


def bodies(numbers: "itertools.count[int]", count: int) -> list[tuple[str, str]]:
    """Return addresses and payments."""
    new = list(itertools.islice(numbers, count))
    return [(f"{number}@example.com", payment(f"B{number}", email=f"{number}@example.com")) for number in new]


def pay(env: Env, body: str) -> float:
    """Return the time of the answer."""
    assert post(env, env.get("PATH", "payments/"), body) == 201
    return time.perf_counter()


def wait_for_mails(sink: MailSink, addresses: Iterable[str]) -> dict[str, float]:
    missing = set(addresses)
    wait_until(lambda: not missing - {address for address, _ in sink.arrivals})
    return dict(sink.arrivals)


def mailed_rate(env: Env, sink: MailSink, numbers: "itertools.count[int]") -> float:
    """Return payments per second, from the first one until the last e-mail has left."""
    payments = bodies(numbers, PAYMENTS)
    sink.arrivals.clear()
    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(lambda each: pay(env, each[1]), payments))
    arrivals = wait_for_mails(sink, [address for address, _ in payments])
    return PAYMENTS / (max(arrivals.values()) - start)


def slowest(env: Env, sink: MailSink, numbers: "itertools.count[int]", rate: float) -> float:
    """Return the 99th percentile in milliseconds from an answer to its e-mail, at this rate of payments."""
    payments = bodies(numbers, int(rate * PACED_SECONDS))
    sink.arrivals.clear()
    start = time.perf_counter()

    def pay_in_turn(position: int) -> float:
        time.sleep(max(0.0, start + position / rate - time.perf_counter()))
        return pay(env, payments[position][1])

    with ThreadPoolExecutor(CLIENTS) as clients:
        answered = list(clients.map(pay_in_turn, range(len(payments))))
    addresses = [address for address, _ in payments]
    arrivals = wait_for_mails(sink, addresses)
    waits = [arrivals[address] - at for address, at in zip(addresses, answered, strict=True)]
    return 1000 * statistics.quantiles(waits, n=100)[98]


if __name__ == "__main__":
    main()
