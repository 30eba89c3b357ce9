"""Reports payments from 64 clients, each tenth twice, while PostgreSQL sessions are ended and workers are killed."""

import argparse
import itertools
import random
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg

from benchmarks.harness import JSON, Client, encode, payment, production, run_script, settings_of
from faults.sweep import kill_workers
from runtime.tests.installation import Keywell, wait_until

CLIENTS = 64
SECONDS_TO_RETRY = 0.5
SLOWEST_RATE = 50  # e-mails per second on a busy machine
# Orders, their codes, and the different keys of these codes.
COUNT = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute(
        "SELECT (SELECT count(*) FROM orders_order WHERE number LIKE 'C%'), count(*), count(DISTINCT fingerprint)"
        " FROM orders_activationcode JOIN orders_orderitem item ON item.id = item_id"
        " JOIN orders_order o ON o.id = order_id WHERE o.number LIKE 'C%'"
    )
    print(*cursor.fetchone())
"""
WAITING = "from delivery.models import Delivery; print(Delivery.objects.filter(due_at__isnull=False).count())"


class Shop:
    """Reports each payment until it is accepted."""

    def __init__(self, port: int, key: str) -> None:
        self.headers = {"Authorization": f"Bearer {key}", "Content-Type": JSON}
        self.port, self.local = port, threading.local()
        self.refusals = itertools.count()

    def pay(self, number: int) -> None:
        client = self.local.__dict__.setdefault("client", Client(self.port))
        request = encode("/api/v1/payments/", payment(f"C{number}"), self.headers)
        for _ in range(2 if number % 10 == 0 else 1):
            while self._send(client, request) not in {200, 201}:
                next(self.refusals)
                time.sleep(SECONDS_TO_RETRY)

    @staticmethod
    def _send(client: Client, request: bytes) -> int:
        try:
            return client.send(request)
        except (OSError, AssertionError):  # the server closed the connection
            client.close()
            return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payments", type=int, default=100_000)
    count = parser.parse_args().payments
    with production() as (keywell, env, _):
        merchant = run_script(keywell, "from merchants.models import Merchant; print(Merchant.objects.get().slug)")
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("\n".join(f"CROWD-{number:08}-ABCDE" for number in range(count)))
            file.flush()
            result = keywell.run("manage", "import_keys", "Photo Lite", file.name, "--merchant", merchant)
            assert result.returncode == 0, result.stderr
        shop, done = Shop(keywell.port, env["API_KEY"]), threading.Event()
        breaker = threading.Thread(target=break_things, args=[keywell, done])
        breaker.start()
        start = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(shop.pay, range(count)))
        seconds = time.perf_counter() - start
        done.set()
        breaker.join()
        wait_until(lambda: run_script(keywell, WAITING) == "0", timeout=600 + count / SLOWEST_RATE)
        orders, codes, keys = map(int, run_script(keywell, COUNT).split())
        audit = keywell.run("manage", "audit")
        print(
            f"{count} payments in {seconds:.0f} s, {next(shop.refusals)} repeated because of a fault: "
            f"{orders} orders, {codes} codes, {keys} different keys; audit: {audit.stdout.strip()}"
        )
        return 0 if orders == codes == keys == count and audit.returncode == 0 else 1


def break_things(keywell: Keywell, done: threading.Event) -> None:
    """End a session of PostgreSQL every second, and kill the workers twice a minute."""
    with psycopg.connect(settings_of(keywell)["DATABASE_URL"], autocommit=True) as connection:
        for second in itertools.count():
            if done.wait(1):
                return
            sessions = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchall()
            if sessions:
                connection.execute("SELECT pg_terminate_backend(%s)", random.choice(sessions))  # noqa: S311
            if second % 30 == 5:
                kill_workers(keywell)


if __name__ == "__main__":
    sys.exit(main())
