"""Logs stay small while several processes write to them."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from runtime import log_rotation
from runtime.log_rotation import LogRotation
from runtime.supervisor import Service, Supervisor

WRITE = "import os, sys\nfor number in range({count}): os.write(1, f'{name} {{number:06}}\\n'.encode())\n"


def test_a_full_log_is_copied_and_emptied_and_the_oldest_copies_go(tmp_path):
    log, rotation = tmp_path / "web.log", LogRotation(max_bytes=10, files=2)
    for text in ("first-----\n", "second----\n", "third-----\n", "short\n"):
        with log.open("a") as file:
            file.write(text)
        rotation.rotate(log)

    assert log.read_text() == "short\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["web.log", "web.log.1", "web.log.2"]
    assert (tmp_path / "web.log.1").read_text() == "third-----\n"
    assert (tmp_path / "web.log.2").read_text() == "second----\n"
    assert (tmp_path / "web.log.1").stat().st_mode & 0o077 == 0


def test_of_a_huge_log_the_end_is_kept(tmp_path):
    log = tmp_path / "web.log"
    log.write_text("old\n" * 1000 + "new\n")
    LogRotation(max_bytes=4).rotate(log)

    assert (tmp_path / "web.log.1").read_text() == "old\nnew\n"


def test_without_copies_it_is_only_emptied(tmp_path):
    log = tmp_path / "web.log"
    log.write_text("x" * 100)
    LogRotation(max_bytes=10, files=0).rotate(log)

    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("web.log", "")]


def test_processes_that_have_it_open_go_on_writing_to_it(tmp_path):
    log, rotation = tmp_path / "web.log", LogRotation(max_bytes=200_000, files=100)
    with log.open("ab") as file:
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITE.format(name=name, count=200_000)], stdout=file)
            for name in "abc"
        ]
    while any(writer.poll() is None for writer in writers):
        rotation.rotate(log)
    assert [writer.returncode for writer in writers] == [0, 0, 0]

    copies = [path for path in tmp_path.iterdir() if path != log]
    lines = [line for path in (log, *copies) for line in path.read_text().splitlines()]
    assert len(copies) > 3
    # At most the lines of the instant between the copy and the emptying are lost, one of them in part.
    cut = set(lines) - {f"{name} {number:06}" for name in "abc" for number in range(200_000)}
    assert len(cut) <= len(copies)
    assert len(lines) > 0.5 * 600_000
    assert len(set(lines) - cut) == len([line for line in lines if line not in cut])


def test_on_a_full_disk_it_is_emptied_all_the_same(tmp_path, monkeypatch):
    log = tmp_path / "web.log"
    log.write_text("x" * 100)

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(log_rotation.os, "read", fail)
    LogRotation(max_bytes=10).rotate(log)

    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("web.log", "")]


def test_a_log_that_is_missing_or_cannot_be_written_stops_nothing(tmp_path):
    LogRotation().rotate(tmp_path / "nothing.log")
    LogRotation(max_bytes=0).rotate(Path("/proc/version"))


def test_the_supervisor_looks_at_the_logs_of_its_services(tmp_path):
    service = Service("sleeper", ["sh", "-c", "echo started; exec sleep 60"], tmp_path / "sleeper.log")
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    with Supervisor(lock, lambda line: None, LogRotation(max_bytes=5, files=1)) as supervisor:
        supervisor.start(service)
        while not service.log.read_text():
            pass
        supervisor.look_after()

        assert (tmp_path / "sleeper.log.1").read_text() == "started\n"
        assert service.story().endswith("ends with:\n")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, LogRotation()),
        ({"LOG_FILE_MB": "", "LOG_FILES": ""}, LogRotation()),
        ({"LOG_FILE_MB": "1", "LOG_FILES": "0"}, LogRotation(1024 * 1024, 0)),
    ],
)
def test_it_follows_the_settings(settings, expected, monkeypatch):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    assert LogRotation.from_settings() == expected


@pytest.mark.parametrize(("name", "value"), [("LOG_FILE_MB", "0"), ("LOG_FILE_MB", "many"), ("LOG_FILES", "-1")])
def test_a_bad_setting_is_named(name, value, monkeypatch):
    monkeypatch.setenv(name, value)

    with pytest.raises(ImproperlyConfigured, match=f"{name} must be a whole number of at least"):
        LogRotation.from_settings()
