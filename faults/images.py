"""Uploads decompression bombs, one at a time and three at once, while payments are reported.

python -m faults.images
"""

import re
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import Owner, installation, read_env
from faults.bombs import BOMBS
from runtime.tests.installation import Keywell

CALM = 15  # seconds of payments before the first bomb
UPLOADS = 3  # one upload per web process
TICKS = 100  # per second: the unit in which Linux counts CPU time


def upload(owner: Owner, content: bytes) -> str:
    """Upload a logo; return the error."""
    answer = owner.submit("/emails/sender/", {"sender_name": "", "reply_to": ""}, {"logo_file": ("logo", content)})
    found = re.search(r"(Can.t read this|This image takes|The image |Another image)[^<]*", answer.text)
    return found[0] if found else "taken"


@contextmanager
def payments(keywell: Keywell) -> Iterator[list[float]]:
    """Report payments one at a time, and record how long each takes."""
    seconds: list[float] = []
    done = threading.Event()

    def report() -> None:
        number = 0
        while not done.wait(0.1):
            number += 1
            started = time.perf_counter()
            status, _ = keywell.report_payment(order=f"F{time.time_ns()}")
            assert status == 201, status
            seconds.append(time.perf_counter() - started)

    with ThreadPoolExecutor(1) as pool:
        reporting = pool.submit(report)
        try:
            yield seconds
        finally:
            done.set()
            reporting.result()


def processor_seconds(keywell: Keywell) -> float:
    """Return the CPU seconds of the web processes and the children they waited for."""
    ticks = 0
    for pid, command in keywell.family().items():
        if "runtime.web" in command:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS


def describe(seconds: list[float]) -> str:
    if not seconds:
        return "no payment got through"
    return f"{len(seconds)} payments, median {statistics.median(seconds):.3f} s, longest {max(seconds):.3f} s"


def measure(keywell: Keywell, owners: list[Owner], name: str, content: bytes) -> None:
    before, started = processor_seconds(keywell), time.perf_counter()
    with payments(keywell) as seconds, ThreadPoolExecutor(len(owners)) as pool:
        answers = list(pool.map(lambda owner: upload(owner, content), owners))
    took, used = time.perf_counter() - started, processor_seconds(keywell) - before
    print(f"{name} × {len(owners)}, {len(content):,} bytes: {used:.1f} s of CPU in {took:.1f} s; {describe(seconds)}")
    print(f"    {', '.join(sorted(set(answers)))}", flush=True)


def main() -> None:
    with installation() as (keywell, _):
        keywell.start()
        with payments(keywell) as seconds:
            time.sleep(CALM)
        print(f"Without uploads: {describe(seconds)}", flush=True)
        owners = [Owner(read_env(keywell.var / "demo.env")) for _ in range(UPLOADS)]
        for name, make in BOMBS.items():
            content = make()
            measure(keywell, owners[:1], name, content)
            measure(keywell, owners, name, content)


if __name__ == "__main__":
    main()
