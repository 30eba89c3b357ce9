"""Counters and histograms of all processes of a machine, in files that /metrics adds up (docs/monitoring.md)."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from prometheus_client import Counter, Histogram, values

# Bytes of a process's files, allocated at once: on a full disk, writing to a hole in a file would kill the process.
FILE_SIZE = {"counter": 64 * 1024, "histogram": 128 * 1024}


class Slot:
    """The number of this process's files. A later process takes over files and numbers, so both stay bounded."""

    def __init__(self) -> None:
        self.pid, self.number = os.getpid(), -1

    def __call__(self) -> int:
        if self.pid != os.getpid():
            self.number = _take_slot(Path(settings.METRICS_FOLDER))
            self.pid = os.getpid()
        return self.number


def _take_slot(folder: Path) -> int:
    """Lock the first free number until this process ends. Forks don't inherit the lock."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    number = 0
    while not _lock(folder / f"{number}.lock"):
        number += 1
    for kind, size in FILE_SIZE.items():
        file = os.open(folder / f"{kind}_{number}.db", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(file, 0, size)
        except OSError:
            os.ftruncate(file, 0)
            raise
        finally:
            os.close(file)
    return number


def _lock(path: Path) -> bool:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return False
    return True  # the handle stays open, and keeps the lock


_slot = Slot()
values.ValueClass = values.MultiProcessValue(_slot)
# The process that loads the code may only fork. Others take a slot when they first count.
_slot.pid = 0


def count(counter: Counter, *labels: str) -> None:
    """Add one. A full disk or a missing folder must not stop the caller's work."""
    with suppress(OSError):
        counter.labels(*labels).inc()


def observe(histogram: Histogram, seconds: float, *labels: Any) -> None:
    with suppress(OSError):
        histogram.labels(*labels).observe(seconds)
