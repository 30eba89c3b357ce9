"""Counters of several processes, in files that are added up."""

import errno
import os
import signal
from functools import partial

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from runtime.tests.installation import wait_until
from work import metrics
from work.metrics import FILE_SIZE, count, observe

REGISTRY = CollectorRegistry()
SALES = Counter("test_sales", "Sales.", ["outcome"], registry=REGISTRY)
SECONDS = Histogram("test_seconds", "Seconds.", ["outcome"], registry=REGISTRY, buckets=(1, 2))


@pytest.fixture
def folder(settings, tmp_path):
    settings.METRICS_FOLDER = tmp_path / "metrics"
    settings.METRICS_FOLDER.mkdir()
    # As if this process had its number in this folder: its forks must not take the same.
    for number in range(metrics._slot.number + 1):
        metrics._lock(settings.METRICS_FOLDER / f"{number}.lock")
    return settings.METRICS_FOLDER


def run_in_fork(function):
    """Run it in a process of its own. Return its pid, which has to be waited for."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        function()
        status = 0
    finally:
        os._exit(status)


def wait(*pids):
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def scrape(folder):
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_counts_of_processes_at_the_same_time_are_added_up(folder):
    def sell():
        for _ in range(500):
            count(SALES, "ok")
            observe(SECONDS, 1.5, "ok")

    assert wait(*(run_in_fork(sell) for _ in range(4))) == [0] * 4

    found = scrape(folder)
    assert found["test_sales_total", "ok"] == 2000
    assert found["test_seconds_count", "ok"] == 2000
    assert found["test_seconds_sum", "ok"] == 3000


def test_a_process_takes_over_the_files_of_one_that_was_killed(folder, tmp_path):
    def sell_until_killed():
        count(SALES, "ok")
        (tmp_path / str(os.getpid())).touch()
        signal.pause()

    def have_begun(*pids):
        return all((tmp_path / str(pid)).exists() for pid in pids)

    for _ in range(3):
        first, second = run_in_fork(sell_until_killed), run_in_fork(sell_until_killed)
        wait_until(partial(have_begun, first, second))
        for pid in (first, second):
            os.kill(pid, signal.SIGKILL)
        wait(first, second)

    assert len(list(folder.glob("counter_*.db"))) == 2
    assert scrape(folder)["test_sales_total", "ok"] == 6


def test_a_fork_of_a_process_that_counts_has_files_of_its_own(folder):
    def sell_ten():
        for _ in range(10):
            count(SALES, "child")

    def sell_and_fork():
        count(SALES, "parent")
        child = run_in_fork(sell_ten)
        for _ in range(10):
            count(SALES, "parent")
        assert wait(child) == [0]
        count(SALES, "parent")

    assert wait(run_in_fork(sell_and_fork)) == [0]

    found = scrape(folder)
    assert (found["test_sales_total", "parent"], found["test_sales_total", "child"]) == (12, 10)
    assert len(list(folder.glob("counter_*.db"))) == 2


def test_the_space_of_its_files_is_allocated_at_once(folder):
    assert wait(run_in_fork(lambda: count(SALES, "ok"))) == [0]

    for kind, size in FILE_SIZE.items():
        [path] = folder.glob(f"{kind}_*.db")
        file = path.stat()
        assert (file.st_size, file.st_blocks * 512 >= size) == (size, True)
        assert file.st_mode & 0o077 == 0


def test_a_full_disk_or_a_read_only_folder_stops_nobody(folder, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sell_on_a_full_disk():
        allocate = os.posix_fallocate
        monkeypatch.setattr(metrics.os, "posix_fallocate", refuse)
        count(SALES, "uncounted")
        observe(SECONDS, 1, "uncounted")
        monkeypatch.setattr(metrics.os, "posix_fallocate", allocate)
        count(SALES, "counted")

    assert wait(run_in_fork(sell_on_a_full_disk)) == [0]
    assert {name: value for name, value in scrape(folder).items() if value} == {("test_sales_total", "counted"): 1}


def test_importing_the_counters_writes_nothing():
    assert metrics.Slot()() == -1
