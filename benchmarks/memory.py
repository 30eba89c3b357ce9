"""Measures processes, memory and CPU seconds of each service after the start, and memory after payments and e-mails.

The baseline is a single process that has loaded Django.
"""

import argparse
import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import (
    JSON,
    Client,
    cpu_by_service,
    encode,
    installation,
    payment,
    read_env,
    restart_in_production,
    send_all,
    services,
    settings_of,
)
from benchmarks.results import record
from runtime.tests.installation import PROJECT, Keywell, wait_until

CLIENTS = 16
GOAL = "500 MiB"
LOAD = "import time, portal.wsgi; print(time.process_time(), open('/proc/self/smaps_rollup').read())"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--payments", type=int, default=400, metavar="N", help="each with an e-mail (400)")
    options = parser.parse_args()
    with installation() as (keywell, sink):
        started_at = time.perf_counter()
        restart_in_production(keywell, sink)
        print(f"started twice, once with the demo's data, in {time.perf_counter() - started_at:.1f} s")
        show(keywell, "after the start")
        cpu = cpu_by_service(keywell).total()
        headers = {"Authorization": f"Bearer {read_env(keywell.var / 'demo.env')['API_KEY']}", "Content-Type": JSON}
        bodies = [payment(f"B{number}") for number in range(options.payments)]
        clients = [Client(keywell.port) for _ in range(CLIENTS)]
        send_all(clients, [encode("/api/v1/payments/", body, headers) for body in bodies])
        wait_until(lambda: len(sink.messages) >= options.payments)
        parts, processes = show(keywell, "after payments and e-mails")
        floor_cpu, floor_memory = one_process(keywell)
    baseline = "one process that loads Django"
    record("CPU time of a start", [(cpu, floor_cpu)], unit="s", baseline=baseline, digits=1)
    sizes: dict[str, Any] = {"processes": processes, "payments": options.payments}
    sizes |= {f"{name} MiB": round(size) for name, size in parts.items()}
    total = [(sum(parts.values()), floor_memory)]
    record("memory", total, unit="MiB", baseline=baseline, goal=GOAL, **sizes)


def show(keywell: Keywell, moment: str) -> tuple[dict[str, float], int]:
    """Print a line for each service; return the MiB of each, and the number of processes."""
    found, cpu = services(keywell), cpu_by_service(keywell)
    sizes = {name: memory(pids) for name, pids in found.items()}
    print(f"{moment}:")
    for name, pids in found.items():
        print(f"  {name:10}{len(pids):4} processes {sizes[name]:6.0f} MiB {cpu[name]:6.1f} s of CPU")
    return sizes, sum(map(len, found.values()))


def memory(pids: Sequence[int]) -> float:
    """Return the MiB that processes take, with their share of what they share with others (PSS)."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):  # PostgreSQL's processes come and go
            total += proportional(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return total


def proportional(rollup: str) -> float:
    found = re.search(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0


def one_process(keywell: Keywell) -> tuple[float, float]:
    """Return the CPU seconds and MiB of a process that has loaded Django."""
    command = [sys.executable, "-c", LOAD]
    output = subprocess.run(
        command, cwd=PROJECT, env=settings_of(keywell), capture_output=True, text=True, check=True
    ).stdout
    return float(output.split()[0]), proportional(output)


if __name__ == "__main__":
    main()
