"""Compares importing a million keys by the web form with a bare COPY, and times payments during the import."""

import argparse
import io
import itertools
import re
import secrets
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import requests

from benchmarks.harness import Env, Owner, payment, post, production, settings_of
from benchmarks.results import record
from runtime.tests.installation import Keywell

KEYS, PRESENT, REPEATED = 1_000_000, 100_000, 50_000
POOL = 1  # of PHOTO-PRO
PAYMENTS_A_SECOND = 10
QUIET = 30  # seconds of payments without an import
FLOOR = """
CREATE TABLE floor (
    id bigserial PRIMARY KEY, code bytea NOT NULL, fingerprint bytea NOT NULL UNIQUE, hint text NOT NULL
)
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imports", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    rounds = parser.parse_args().rounds
    with production() as (keywell, env, _):
        browser = ImportBrowser(env)
        compare_with_copy(keywell, browser, rounds)
        compare_payments(env, browser, rounds)


class ImportBrowser(Owner):
    def __init__(self, env: Env) -> None:
        super().__init__(env)
        self.api = {"Authorization": f"Bearer {env['API_KEY']}"}

    def import_file(self, keys: list[str]) -> tuple[float, dict]:
        """Upload, confirm the preview and wait; return the seconds and the result."""
        content = "\n".join(keys).encode()
        start = time.perf_counter()
        answer = self.submit(f"/pools/{POOL}/import/", {"note": ""}, {"file": ("keys.txt", content)})
        answer.raise_for_status()
        path = answer.url.removeprefix(self.base)
        self.wait(path, "ready")
        token = self.session.cookies["csrftoken"]
        headers = {"Referer": self.base + path, "X-CSRFToken": token}
        self.session.post(f"{self.base}{path}confirm/", headers=headers).raise_for_status()
        result = self.wait(path, "imported")
        return time.perf_counter() - start, result

    def wait(self, path: str, status: str) -> dict:
        while True:
            answer = requests.get(f"{self.base}/api/v1{path}", headers=self.api).json()
            if answer["status"] == status:
                return answer
            assert answer["status"] in {"reading", "ready", "importing"}, answer
            time.sleep(0.2)


def compare_with_copy(keywell: Keywell, browser: ImportBrowser, rounds: int) -> None:
    pairs, memory = [], 0
    for _ in range(rounds):
        keys = make_keys()
        browser.import_file(keys[:PRESENT])
        seconds, result = browser.import_file(keys)
        assert result["preview"]["new"] == KEYS - PRESENT - REPEATED, result
        workers = [pid for pid, command in keywell.family().items() if "--queues imports" in command]
        memory = max(memory, *(peak_memory(pid) for pid in workers))
        pairs.append((KEYS / seconds, KEYS / copy(keywell)))
    goal = "at least 0.4"
    record(
        "import with preview", pairs, unit="rows per second", baseline="COPY", goal=goal, keys=KEYS, memory_mb=memory
    )


def make_keys() -> list[str]:
    """Return keys of 23 characters each; some are repeated at the end."""
    keys = [secrets.token_hex(10).upper() for _ in range(KEYS - REPEATED)]
    keys = ["-".join(key[start : start + 5] for start in range(0, 20, 5)) for key in keys]
    return keys + keys[-REPEATED:]


def peak_memory(pid: int) -> int:
    """Return the peak memory in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1024  # type: ignore[index]


def copy(keywell: Keywell) -> float:
    """Return the seconds to COPY the same rows into a table with two indexes, in one transaction."""
    with (
        psycopg.connect(settings_of(keywell)["DATABASE_URL"], autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        rows = io.BytesIO()
        select = f"SELECT code, fingerprint, hint FROM pools_licensekey ORDER BY id DESC LIMIT {KEYS}"
        with cursor.copy(f"COPY ({select}) TO STDOUT (FORMAT binary)") as data:
            for piece in data:
                rows.write(piece)
        cursor.execute(FLOOR)
        start = time.perf_counter()
        with cursor.copy("COPY floor (code, fingerprint, hint) FROM STDIN (FORMAT binary)") as data:
            data.write(rows.getvalue())
        seconds = time.perf_counter() - start
        count = cursor.rowcount
        cursor.execute("DROP TABLE floor")
    return seconds * KEYS / count


def compare_payments(env: Env, browser: ImportBrowser, rounds: int) -> None:
    numbers = itertools.count(2_000_000)
    pairs, seconds = [], 0.0
    for _ in range(rounds):
        keys = make_keys()  # it would block the shop's threads
        quiet = ImportShop(env, numbers)
        quiet.start()
        time.sleep(QUIET)
        quiet.stop()
        busy = ImportShop(env, numbers)
        busy.start()
        seconds, _ = browser.import_file(keys)
        busy.stop()
        pairs.append((busy.p99(), quiet.p99()))
    sizes: dict[str, Any] = {"keys": KEYS, "payments_per_second": PAYMENTS_A_SECOND, "seconds": round(seconds, 1)}
    goal = "at most 3"
    record("p99 of payments during an import", pairs, unit="ms", baseline="without an import", goal=goal, **sizes)


class ImportShop(threading.Thread):
    """Sells at a steady pace, however long the answers take."""

    def __init__(self, env: Env, numbers: "itertools.count[int]") -> None:
        super().__init__()
        self.env, self.numbers = env, numbers
        self.times: list[float] = []
        self.sellers: list[threading.Thread] = []
        self.closed = threading.Event()

    def run(self) -> None:
        while not self.closed.wait(1 / PAYMENTS_A_SECOND):
            self.sellers.append(threading.Thread(target=self.sell, args=[next(self.numbers)]))
            self.sellers[-1].start()

    def sell(self, number: int) -> None:
        body = payment(f"B{number}", "PHOTO-PRO")
        start = time.perf_counter()
        assert post(self.env, "payments/", body) == 201
        self.times.append(time.perf_counter() - start)

    def stop(self) -> None:
        self.closed.set()
        self.join()
        for seller in self.sellers:
            seller.join()

    def p99(self) -> float:
        """Return the 99th percentile in milliseconds."""
        return 1000 * statistics.quantiles(self.times, n=100)[98]


if __name__ == "__main__":
    main()
