"""Sizes of an installation: what the machine, or the container's limits, allow."""

import contextlib
import os
from pathlib import Path

MEBIBYTE = 1024 * 1024
CGROUP = Path("/sys/fs/cgroup")
# MiB that one process of the web server or of the worker takes for itself, and that everything else takes.
PROCESS_MEMORY, OTHER_MEMORY = 60, 350


def cores() -> int:
    """Return the number of cores that this process may use, at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = (CGROUP / "cpu.max").read_text().split()
        count = min(count, -(-int(quota) // int(period)))
    return max(1, count)


def memory() -> int:
    """Return the MiB of memory that this process may use."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        size = min(size, int((CGROUP / "memory.max").read_text()))
    return size // MEBIBYTE


def processes() -> int:
    """Return how many processes the web server and the worker have each: one per core, from 2 to 16."""
    affordable = (memory() - OTHER_MEMORY) // (2 * PROCESS_MEMORY)
    return max(2, min(cores(), affordable, 16))


def postgres_memory() -> dict[str, str]:
    """Return PostgreSQL's settings for memory. It takes 2 % of `shared_buffers` even if they stay empty."""
    size = memory()
    return {
        "shared_buffers": f"{between(64, size // 32, 1024)}MB",
        "effective_cache_size": f"{between(128, size // 2, 65536)}MB",
        "maintenance_work_mem": f"{between(32, size // 32, 512)}MB",
        "wal_buffers": "4MB",
    }


def between(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))
