"""An installation of its own for tests to start, ask, kill and stop."""

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from runtime.supervisor import die_with_parent

PROJECT = Path(__file__).resolve().parents[2]
# Seconds until a test gives up: far more than even a machine under load takes.
TIMEOUT = 300
# Empty counts as missing.
UNSET = ["DATABASE_URL", "BROKER_URL", "BASE_URL", "HOST", "DJANGO_DEBUG", "EMAIL_URL"]


class Keywell:
    def __init__(self, var: Path) -> None:
        self.var = var
        self.port = free_port()
        self.output = var.with_suffix(".out")

    def environment(self, **settings: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in {"SECRET_KEY", "VAULT_KEYS"}}
        inherited["KEYWELL_ENV"] = os.devnull
        return inherited | dict.fromkeys(UNSET, "") | {"KEYWELL_VAR": str(self.var), "PORT": str(self.port)} | settings

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "run.py", *arguments]
        return subprocess.run(
            command, cwd=PROJECT, env=self.environment(**settings), capture_output=True, text=True, timeout=TIMEOUT
        )

    def start(self, **settings: str) -> None:
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "run.py"],
                cwd=PROJECT,
                env=self.environment(**settings),
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        self.wait_until(lambda: "Keywell runs at" in self.printed())

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(TIMEOUT)

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait as long as it runs."""
        wait_until(lambda: condition() or self.process.poll() is not None)
        assert self.process.poll() is None, self.printed()

    def printed(self) -> str:
        return self.output.read_text()

    def healthz(self) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=TIMEOUT) as response:
            return int(response.status)

    def report_payment(self, **changes: str) -> tuple[int, dict]:
        """Do what the printed command would, with some of it changed."""
        command = next(line for line in self.printed().splitlines() if line.startswith("curl "))
        _, url, *options = shlex.split(command)
        given = list(zip(options[::2], options[1::2], strict=True))
        headers = dict(value.split(": ", 1) for option, value in given if option == "-H")
        [body] = [value for option, value in given if option == "-d"]
        body = json.dumps(json.loads(body) | changes)
        request = urllib.request.Request(url, body.encode(), headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            return int(response.status), json.load(response)

    def family(self) -> dict[int, str]:
        return descendants(self.process.pid)

    def worker(self) -> int | None:
        """The worker itself, not the children that do its work."""
        workers = [pid for pid, command in self.family().items() if "--hostname worker@" in command]
        return min(workers, default=None)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def descendants(ancestor: int) -> dict[int, str]:
    """The command of every process that stems from one, and is not a zombie."""
    commands, parents = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            if state != "Z":
                commands[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
                parents[int(folder.name)] = int(parent)
    found = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: commands[pid] for pid in found - {ancestor}}


def all_ended(pids: dict[int, str]) -> bool:
    return not any(Path(f"/proc/{pid}/exe").exists() and command_of(pid) == command for pid, command in pids.items())


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def wait_until(condition: Callable[[], object], timeout: float = TIMEOUT) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
