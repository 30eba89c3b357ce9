"""`python3 run.py`, for real: one installation in a folder of its own, that these tests start, ask, kill and stop."""

import errno
import fcntl
import gc
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from runtime import commands
from runtime.supervisor import IDLE_TIMEOUT, LoadedService, OnDemandWorker, Service, Supervisor, read_status
from runtime.tests.installation import PROJECT, TIMEOUT, Keywell, all_ended, descendants, free_port, wait_until


@pytest.fixture(scope="module")
def keywell(install: Callable[[], Keywell]) -> Iterator[Keywell]:
    keywell = install()
    keywell.start()
    yield keywell
    keywell.stop()


@pytest.fixture
def elsewhere(install: Callable[[], Keywell]) -> Keywell:
    return install()


def test_a_test_with_an_installation_is_marked(keywell, request):
    """By its fixtures, for `run.py test --fast`."""
    assert request.node.get_closest_marker("installation")


def test_it_serves_when_it_says_so(keywell):
    assert keywell.healthz() == 200


def test_it_prints_a_command_that_reports_a_payment(keywell):
    status, payment = keywell.report_payment()
    status_when_repeated, repeated = keywell.report_payment()

    assert (status, status_when_repeated) == (201, 200)
    assert codes_in(repeated) == codes_in(payment) != []


def codes_in(payment):
    return [code["code"] for item in payment["items"] for code in item["activation_codes"]]


def is_sent(payment):
    return {code["delivery"] for item in payment["items"] for code in item["activation_codes"]} == {"sent"}


def test_it_keeps_secrets_from_other_users(keywell):
    modes = {name: (keywell.var / name).stat().st_mode & 0o777 for name in ["", "secrets.env", "demo.env", "run"]}

    assert modes == {"": 0o700, "secrets.env": 0o600, "demo.env": 0o600, "run": 0o700}


def test_it_refuses_a_second_start_in_the_same_folder(keywell):
    second = keywell.run(PORT=str(free_port()))

    assert second.returncode == 1
    assert "already running in this folder" in second.stderr
    assert "Traceback" not in second.stderr


def test_its_staff_need_no_second_factor_in_the_demo_only(keywell):
    setting = (
        "manage",
        "shell",
        "-c",
        "from django.conf import settings; print(settings.STAFF_SECOND_FACTOR_REQUIRED)",
    )
    secrets = {"SECRET_KEY": "x" * 50, "VAULT_KEYS": b64encode(bytes(32)).decode(), "EMAIL_URL": "memorymail://"}

    assert "False" in keywell.run(*setting).stdout
    assert "True" in keywell.run(*setting, STAFF_SECOND_FACTOR_REQUIRED="on").stdout
    assert "True" in keywell.run(*setting, DJANGO_DEBUG="off", **secrets).stdout


def test_it_runs_management_commands_against_the_same_database(keywell):
    staff = re.search(r"^STAFF_LOGIN=(.*)$", (keywell.var / "demo.env").read_text(), re.MULTILINE)

    users = keywell.run("manage", "dumpdata", "merchants.user")

    assert users.returncode == 0
    assert staff and staff[1] in [user["fields"]["email"] for user in json.loads(users.stdout)]


def test_it_passes_on_the_exit_status_of_a_management_command(keywell):
    assert keywell.run("manage", "no_such_command").returncode == 1


def test_it_starts_a_killed_worker_again(keywell):
    keywell.wait_until(lambda: keywell.worker() and descendants(keywell.worker()))
    worker = keywell.worker()
    children = descendants(worker)

    os.kill(worker, signal.SIGKILL)

    keywell.wait_until(lambda: "worker ended (SIGKILL); restarting it" in keywell.printed())
    keywell.wait_until(lambda: keywell.worker() not in {None, worker, *children})
    assert all_ended(children)
    keywell.wait_until(lambda: is_sent(keywell.report_payment(order="AFTER-A-RESTART")[1]))


def test_it_runs_the_worker_for_imports_only_when_there_are_some(keywell):
    assert not any("imports@" in command for command in keywell.family().values())
    access = dict(line.split("=", 1) for line in (keywell.var / "demo.env").read_text().splitlines())
    address = f"{access['BASE_URL']}/api/v1/pools/2"
    headers = {"Authorization": f"Bearer {access['API_KEY']}"}
    before = requests.get(f"{address}/", headers=headers, timeout=TIMEOUT).json()["available"]
    keys = "\n".join(f"ON-DEMAND-{number:06}" for number in range(20_000))

    answer = requests.post(f"{address}/keys/", keys, headers=headers | {"Content-Type": "text/plain"}, timeout=TIMEOUT)

    assert answer.status_code in {201, 202}, answer.text
    keywell.wait_until(lambda: any("imports@" in command for command in keywell.family().values()))
    available = lambda: requests.get(f"{address}/", headers=headers, timeout=TIMEOUT).json()["available"]  # noqa: E731
    keywell.wait_until(lambda: available() == before + 20_000)


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

    assert keywell.stop() == 0

    assert all_ended(family)
    assert "Stopping Keywell" in keywell.printed()


def test_a_stop_under_load_answers_what_it_took_and_loses_nothing(keywell):
    keywell.start()
    printed = keywell.printed()
    answered: dict[str, dict] = {}
    unanswered: list[str] = []

    def report(client: int) -> None:
        for count in itertools.count():
            order = f"LOAD-{client}-{count}"
            try:
                answered[order] = keywell.report_payment(order=order)[1]
            except OSError:
                unanswered.append(order)
                return

    clients = [threading.Thread(target=report, args=[client]) for client in range(6)]
    for client in clients:
        client.start()
    wait_until(lambda: len(answered) >= 20)
    assert keywell.stop() == 0
    for client in clients:
        client.join()

    keywell.start()
    keywell.output.write_text(printed)
    for order, payment in answered.items():
        status, again = keywell.report_payment(order=order)
        assert (status, codes_in(again)) == (200, codes_in(payment))
    for order in unanswered:
        assert keywell.report_payment(order=order)[0] in {200, 201}
    assert keywell.run("manage", "audit").returncode == 0
    assert keywell.stop() == 0


def test_it_prints_each_step_with_its_duration(keywell):
    steps = re.findall(r"^  (\w+) is (?:ready|set up) after \d+\.\d s$", keywell.printed(), re.MULTILINE)

    assert {"postgres", "valkey", "worker", "callouts", "web"} <= set(steps)
    assert re.search(r"^Stopped after \d+\.\d s$", keywell.printed(), re.MULTILINE)


def test_it_sets_up_the_database_again_only_after_a_change(keywell):
    keywell.start()
    assert "database is set up" not in keywell.printed()
    keywell.stop()

    keywell.start(LOG_LEVEL="WARNING")
    assert "  database is set up after" in keywell.printed()
    keywell.stop()


def test_it_names_a_bad_setting_also_when_the_database_is_set_up(keywell):
    start = keywell.run(API_REQUESTS_PER_MINUTE="many")

    assert start.returncode == 1
    assert "many" in start.stderr
    assert "Traceback" not in start.stderr


def test_a_start_during_a_stop_says_so_and_waits(elsewhere):
    elsewhere.var.mkdir()
    lock = elsewhere.var / "run.lock"
    lock.write_bytes(b"stopping")
    with lock.open() as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        command = [sys.executable, "run.py"]
        environment = elsewhere.environment()
        second = subprocess.Popen(command, cwd=PROJECT, env=environment, stderr=subprocess.PIPE, text=True)
        assert second.stderr
        assert "Keywell is still stopping in this folder" in second.stderr.readline()
        assert second.poll() is None

    wait_until(lambda: (elsewhere.var / "run/.s.PGSQL.5432").exists())
    second.terminate()
    assert second.wait(TIMEOUT) == 0


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


def test_without_an_installation_it_is_not_marked(tmp_path, request):
    assert not request.node.get_closest_marker("installation")


@pytest.mark.parametrize(("arguments", "chosen"), [([], []), (["--fast"], commands.FAST)])
def test_it_runs_the_tests_and_all_other_checks(monkeypatch, capfd, arguments, chosen):
    def record(*command: str) -> int:
        recorded.append(command)
        return 0

    recorded: list[tuple[str, ...]] = []
    monkeypatch.setattr(commands, "embedded_servers", lambda var, durable: [])
    monkeypatch.setattr(commands, "foreground", record)
    monkeypatch.setattr(commands, "CHECKS", [["-c", "print('fine')"], ["-c", "print('bad'); raise SystemExit(3)"]])
    monkeypatch.setattr(os, "environ", os.environ.copy())

    assert commands.test(arguments) == 1

    assert recorded == [(*commands.TESTS, *chosen)]
    shown = capfd.readouterr().out
    assert "\nfine\n" in shown and "\nbad\n" in shown
    assert "Failed: -c print('bad'); raise SystemExit(3)" in shown


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


class Clock:
    """What the supervisor waits by, without waiting."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr("runtime.supervisor.time.monotonic", lambda: self.now)


@pytest.fixture
def supervised(tmp_path, monkeypatch):
    """Have a supervisor restart services that end, and return what it says and the pauses it makes."""

    def run(services, ends):
        clock = Clock(monkeypatch)
        said: list[str] = []
        with (tmp_path / "lock").open("w") as lock, Supervisor(lock.fileno(), said.append) as supervisor:
            supervisor.start(*services)
            pauses: list[float] = []
            while len(pauses) < ends:
                if supervisor.restarts.get(services[0]) is None or not supervisor.restarts[services[0]].is_pending:
                    services[0].process.wait()
                    supervisor.look_after()
                    pauses.append(supervisor.restarts[services[0]].pause)
                    failing.append(read_status(supervisor.status))
                clock.now += pauses[-1]
                supervisor.look_after()
            assert all(service.exit_status() is None for service in services[1:])
        return said, pauses

    failing: list[list[str]] = []
    run.failing = failing  # type: ignore[attr-defined]
    return run


def test_it_restarts_what_keeps_ending_with_growing_pauses_and_leaves_the_others_alone(supervised, tmp_path):
    moth = Service("moth", ["sh", "-c", "exit 3"], tmp_path / "moth.log")
    rock = Service("rock", ["sleep", "60"], tmp_path / "rock.log")

    said, pauses = supervised([moth, rock], ends=9)

    assert pauses == [0.25, 1, 2, 4, 8, 15, 15, 15, 15]
    assert "moth ended (exit status 3); restarting it in 0.25 s" in said
    assert not any("rock ended" in line for line in said)
    assert supervised.failing == [["moth"]] * 9


def test_it_restarts_what_is_killed_in_the_same_way(supervised, tmp_path):
    moth = Service("moth", ["sh", "-c", "kill -9 $$"], tmp_path / "moth.log")

    said, pauses = supervised([moth], ends=7)

    assert pauses[-1] == 15
    assert "moth ended (SIGKILL); restarting it in 15 s" in said


def test_a_service_that_runs_steadily_is_no_longer_failing(tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    with (tmp_path / "lock").open("w") as lock, Supervisor(lock.fileno(), lambda line: None) as supervisor:
        service = Service("rock", ["sleep", "60"], tmp_path / "rock.log")
        supervisor.start(service)
        for _ in range(2):
            assert service.process
            service.process.send_signal(signal.SIGKILL)
            service.process.wait()
            supervisor.look_after()
            clock.now += 15
            supervisor.look_after()
        assert read_status(supervisor.status) == ["rock"]

        clock.now += 60
        supervisor.look_after()

        assert read_status(supervisor.status) == []


def test_a_worker_on_demand_runs_while_there_are_tasks(tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    tasks: list[str] = []
    monkeypatch.setattr(OnDemandWorker, "_has_tasks", lambda self: bool(tasks))
    monkeypatch.setattr(OnDemandWorker, "_launch", Service._launch)
    service = OnDemandWorker("imports", [], tmp_path / "imports.log", "", niceness=0)
    service.command = ["sleep", "60"]

    def later(seconds):
        clock.now += seconds
        supervisor.look_after()

    with (tmp_path / "lock").open("w") as lock, Supervisor(lock.fileno(), lambda line: None) as supervisor:
        supervisor.start(service)
        later(10)
        assert service.process is None

        tasks.append("an import")
        later(1)
        first = service.process
        assert first and service.exit_status() is None
        later(IDLE_TIMEOUT + 1)
        assert service.process is first

        tasks.clear()
        later(IDLE_TIMEOUT + 1)
        assert first.wait() == -signal.SIGTERM
        later(1)
        assert service.process is None
        assert (read_status(supervisor.status), supervisor.restarts) == ([], {})

        tasks.append("another one")
        later(1)
        assert service.process
        service.process.send_signal(signal.SIGKILL)
        service.process.wait()
        later(0)
        assert read_status(supervisor.status) == ["imports"]
        later(1)
        assert service.exit_status() is None


def test_a_restart_that_fails_is_tried_again(tmp_path, monkeypatch):
    """As when the disk is full."""
    clock = Clock(monkeypatch)
    said: list[str] = []
    with (tmp_path / "lock").open("w") as lock, Supervisor(lock.fileno(), said.append) as supervisor:
        service = Service("moth", ["sleep", "60"], tmp_path / "moth.log")
        supervisor.start(service)
        assert service.process
        service.process.send_signal(signal.SIGKILL)
        service.process.wait()
        start = service.start

        def fail():
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(service, "start", fail)
        for _ in range(3):
            supervisor.look_after()
            clock.now += 15
        monkeypatch.setattr(service, "start", start)
        supervisor.look_after()

        assert service.exit_status() is None, service.log.read_text()
    assert "moth ended ([Errno 28] No space left on device); restarting it in 1 s" in said


def test_a_service_runs_without_its_log_when_the_disk_is_full(tmp_path):
    service = Service("rock", ["sleep", "60"], tmp_path / "missing" / "rock.log")

    service.start()

    assert service.exit_status() is None
    service.stop()


def test_services_started_together_are_stopped_together(tmp_path):
    """Each takes a second to stop; one after the other they would take eight."""
    stubborn = ["sh", "-c", "trap 'sleep 1; exit' TERM; while :; do sleep 0.01; done"]
    services = [Service(f"s{number}", stubborn, tmp_path / f"{number}.log") for number in range(8)]
    asked: list[str] = []
    for service in services:
        ask = service.ask_to_stop
        service.ask_to_stop = lambda service=service, ask=ask: (asked.append(service.name), ask())  # type: ignore
        wait = service.wait_or_kill
        service.wait_or_kill = lambda timeout, wait=wait: (asked.append("wait"), wait(timeout))  # type: ignore

    with (tmp_path / "lock").open("w") as lock, Supervisor(lock.fileno(), lambda line: None) as supervisor:
        supervisor.start(*services)

    assert asked == [*(service.name for service in services), *["wait"] * 8]


def loaded(tmp_path, argument, **options):
    return LoadedService("loaded", "runtime.tests.loaded_module", [argument], tmp_path / "loaded.log", **options)


def test_a_copy_of_this_process_is_a_program_of_its_own(tmp_path):
    service = loaded(tmp_path, "wait", niceness=3)
    service.environment = {"GIVEN": "so"}
    gc.disable()
    garbage: list[Any] = [(tmp_path / "garbage").open("w")]
    garbage.append(garbage)
    del garbage
    with (tmp_path / "open").open("w"), (tmp_path / "kept").open("w") as kept:
        service.pass_fds = [kept.fileno()]
        service.start()
        gc.enable()
        assert service.process
        wait_until(lambda: service.log.read_text())
        assert service.exit_status() is None, service.log.read_text()
        service.stop()

        found = json.loads(service.log.read_text())
        assert found == {
            "files": [1, 2, kept.fileno()],
            "closed by the parent's objects": [],
            "terminated by default": True,
            "session": True,
            "title": f"{sys.executable} -m runtime.tests.loaded_module wait",
            "niceness": os.nice(0) + 3,
            "setting": "so",
        }
    assert service.exit_status() == -signal.SIGTERM
    assert "GIVEN" not in os.environ


@pytest.mark.parametrize(
    ("argument", "status", "said"), [("0", 0, ""), ("7", 7, ""), ("reason", 1, "reason"), ("fail", 1, "as told")]
)
def test_a_copy_of_this_process_ends_without_it(tmp_path, argument, status, said):
    service = loaded(tmp_path, argument)

    service.start()

    assert service.process
    assert service.process.wait() == status
    assert said in service.log.read_text()
