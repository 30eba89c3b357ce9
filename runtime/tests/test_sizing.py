"""Sizes that follow the machine, or the limits of a container."""

import pytest

from runtime import sizing


@pytest.fixture
def container(tmp_path, monkeypatch):
    def limit(cpu: str, memory: str) -> None:
        (tmp_path / "cpu.max").write_text(cpu)
        (tmp_path / "memory.max").write_text(memory)

    monkeypatch.setattr(sizing, "CGROUP", tmp_path)
    monkeypatch.setattr(sizing.os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(sizing.os, "sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 64 * 2**18)
    return limit


@pytest.mark.parametrize(
    ("cpu", "memory", "processes", "buffers"),
    [
        ("max 100000\n", "max\n", 16, "1024MB"),
        ("400000 100000", str(8 * 2**30), 4, "256MB"),
        ("150000 100000", str(2**30), 2, "64MB"),
        ("max 100000", str(2**30), 5, "64MB"),
        ("50000 100000", str(2**28), 2, "64MB"),
    ],
)
def test_it_follows_cores_and_memory(container, cpu, memory, processes, buffers):
    container(cpu, memory)

    assert sizing.processes() == processes
    assert sizing.postgres_memory()["shared_buffers"] == buffers


def test_without_limits_it_takes_the_machine(container):
    assert (sizing.cores(), sizing.memory()) == (64, 64 * 1024)
