"""`python3 run.py`, for real: one installation in a folder of its own, that these tests start, ask, kill and stop."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.supervisor import Service, ServiceError, Supervisor
from portal.tests.installation import Keywell, all_ended, descendants, free_port, wait_until


@pytest.fixture(scope="module")
def keywell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keywell]:
    keywell = Keywell(tmp_path_factory.mktemp("keywell") / "var")
    keywell.start()
    yield keywell
    keywell.process.terminate()
    keywell.process.wait()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Keywell:
    return Keywell(tmp_path / "var")


def test_it_serves_when_it_says_so(keywell):
    assert keywell.healthz() == 200


def test_it_prints_a_command_that_reports_a_payment(keywell):
    status, payment = keywell.report_payment()
    status_when_repeated, repeated = keywell.report_payment()

    assert (status, status_when_repeated) == (201, 200)
    assert codes_in(repeated) == codes_in(payment) != []


def codes_in(payment):
    return [code["code"] for item in payment["items"] for code in item["activation_codes"]]


def test_it_keeps_secrets_from_other_users(keywell):
    modes = {name: (keywell.var / name).stat().st_mode & 0o777 for name in ["", "secrets.env", "demo.env", "run"]}

    assert modes == {"": 0o700, "secrets.env": 0o600, "demo.env": 0o600, "run": 0o700}


def test_it_refuses_a_second_start_in_the_same_folder(keywell):
    second = keywell.run(PORT=str(free_port()))

    assert second.returncode == 1
    assert "already running in this folder" in second.stderr
    assert "Traceback" not in second.stderr


def test_it_runs_management_commands_against_the_same_database(keywell):
    staff = re.search(r"^STAFF_LOGIN=(.*)$", (keywell.var / "demo.env").read_text(), re.MULTILINE)

    users = keywell.run("manage", "dumpdata", "merchants.user")

    assert users.returncode == 0
    assert staff and staff[1] in [user["fields"]["email"] for user in json.loads(users.stdout)]


def test_it_passes_on_the_exit_status_of_a_management_command(keywell):
    assert keywell.run("manage", "no_such_command").returncode == 1


def test_it_starts_a_killed_worker_again(keywell):
    wait_until(lambda: keywell.worker() and descendants(keywell.worker()))
    worker = keywell.worker()
    children = descendants(worker)

    os.kill(worker, signal.SIGKILL)

    wait_until(lambda: "worker ended (SIGKILL); starting it again" in keywell.printed())
    wait_until(lambda: keywell.worker() not in {None, worker, *children})
    assert all_ended(children)


def test_it_leaves_no_process_behind_and_loses_nothing_when_killed(keywell):
    keywell.report_payment()
    family = keywell.family()
    printed = keywell.printed()

    keywell.process.kill()
    keywell.process.wait()
    keywell.start()

    assert all_ended(family)
    keywell.output.write_text(printed)
    assert keywell.report_payment()[0] == 200


def test_it_stops_everything_when_terminated(keywell):
    family = keywell.family()

    keywell.process.terminate()

    assert keywell.process.wait(30) == 0
    assert all_ended(family)
    assert "Stopping Keywell" in keywell.printed()


def test_it_runs_management_commands_when_it_is_not_running(keywell):
    users = keywell.run("manage", "dumpdata", "merchants.user")

    assert json.loads(users.stdout)
    assert not (keywell.var / "run/.s.PGSQL.5432").exists()


def test_it_names_the_setting_when_the_port_is_taken(elsewhere):
    with socket.create_server(("127.0.0.1", elsewhere.port)):
        start = elsewhere.run()

    assert start.returncode == 1
    assert f"Cannot listen on port {elsewhere.port} of 127.0.0.1: Address already in use." in start.stderr
    assert "Set PORT" in start.stderr
    assert not (elsewhere.var / "postgres").exists()


def test_it_names_the_setting_when_it_cannot_write(elsewhere):
    elsewhere.var.write_text("a file where the folder should be")

    start = elsewhere.run()

    assert start.returncode == 1
    assert start.stderr.startswith(f"Cannot write to {elsewhere.var}: File exists.")
    assert "KEYWELL_VAR" in start.stderr


def test_it_asks_for_secrets_when_it_is_meant_seriously(elsewhere):
    start = elsewhere.run(DJANGO_DEBUG="off")

    assert start.returncode == 1
    assert "SECRET_KEY" in start.stderr
    assert "Traceback" not in start.stderr
    assert not (elsewhere.var / "secrets.env").exists()


def test_it_explains_itself(elsewhere):
    assert "python3 run.py test" in elsewhere.run("--help").stdout
    assert elsewhere.run("serve").returncode == 2


def test_it_hears_an_interrupt_while_it_starts_a_service(tmp_path, monkeypatch):
    def interrupted_start(*arguments, **options):
        signal.raise_signal(signal.SIGINT)
        return start(*arguments, **options)

    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", interrupted_start)
    service = Service("sleeper", ["sleep", "60"], tmp_path / "sleeper.log")

    with pytest.raises(KeyboardInterrupt):
        service.start()

    assert service.process
    assert service.exit_status() is None
    service.stop()


def test_what_is_killed_is_started_again_however_often(tmp_path, monkeypatch):
    monkeypatch.setattr("portal.supervisor.time.sleep", lambda seconds: None)
    said: list[str] = []
    with (tmp_path / "lock").open("w") as lock, Supervisor(lock.fileno(), said.append) as services:
        services.start(Service("moth", ["sh", "-c", "kill -9 $$"], tmp_path / "moth.log"))

        while len(said) < 8:
            services.look_after()

    assert said == ["moth ended (SIGKILL); starting it again"] * 8


def test_it_gives_up_on_what_keeps_ending(tmp_path, monkeypatch):
    monkeypatch.setattr("portal.supervisor.time.sleep", lambda seconds: None)
    said: list[str] = []
    with (tmp_path / "lock").open("w") as lock, Supervisor(lock.fileno(), said.append) as services:
        services.start(Service("moth", ["sh", "-c", "echo too hot; exit 3"], tmp_path / "moth.log"))

        with pytest.raises(ServiceError, match="moth ended 5 times within a minute(.|\n)*too hot"):
            while True:
                services.look_after()

    assert said == ["moth ended (exit status 3); starting it again"] * 4
