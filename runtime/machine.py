"""What run.py needs of the machine. Standard library only: run.py imports it before any package is installed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from subprocess import CompletedProcess

# Errors of a full disk and of missing rights
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


def say(message: str) -> None:
    # Flushed immediately. A closed terminal does no harm.
    with contextlib.suppress(OSError):
        os.write(1, f"{message}\n".encode())


def warn(message: str) -> None:
    print(message, file=sys.stderr, flush=True)  # noqa: T201


def hold(path: Path, *, timeout: float = 0, notice: str = "") -> int | None:
    """Lock a file until this process and all that inherit the handle end. None if it is already locked."""
    handle = os.open(path, os.O_RDONLY | os.O_CREAT, 0o600)
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        if time.monotonic() >= deadline:
            os.close(handle)
            return None
        if notice:
            warn(notice)
            notice = ""
        time.sleep(0.1)


def run(command: list[str | Path], lock: int, env: dict[str, str] | None = None) -> CompletedProcess[str]:
    """The command inherits the lock: if this process is killed, the next one waits until the command has ended."""
    return subprocess.run(command, pass_fds=[lock], env=env, capture_output=True, text=True)


def reason(result: CompletedProcess[str]) -> str:
    lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["It gave no reason."])[-1]


def address() -> tuple[str, int]:
    """Return the host and port of the settings HOST and PORT."""
    host, port = os.environ.get("HOST") or "127.0.0.1", os.environ.get("PORT") or "8000"
    if not (port.isdecimal() and 0 < int(port) < 65536):
        sys.exit(f"PORT must be a number from 1 to 65535, not {port!r}.")
    return host, int(port)


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def listen(command: str = "") -> socket.socket:
    """Return the listening socket of HOST and PORT, or end with what to do. `command` of run.py is shown with it."""
    host, port = address()
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        reason = str(error.strerror).split(" (")[0]
        remedy = f"Set PORT to another one: PORT={port + 1} python3 run.py {command}".rstrip()
        if error.errno == errno.EACCES:
            remedy = "Only root may listen below 1024. Set PORT=8000, and put a proxy in front (docs/installing.md)."
        elif error.errno == errno.EADDRNOTAVAIL:
            remedy = "This machine doesn't have that address. Set HOST to one of its own, or to 0.0.0.0 for all."
        elif command:
            remedy = (
                f"Stop what uses it, perhaps the demo. Or set another one: PORT={port + 1} python3 run.py {command}"
            )
        sys.exit(f"Cannot listen on port {port} of {host}: {reason}. {remedy}")
