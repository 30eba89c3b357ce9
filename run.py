#!/usr/bin/env python3
"""Keywell on one machine, from a fresh clone to a running service.

    python3 run.py                     start everything; Ctrl-C stops it. Without .env, this is a demo
    python3 run.py init [OPTION...]    set up a real installation: settings, first merchant, API key; then start it
    python3 run.py test [ARGUMENT...]  check the code and run all tests; or run pytest with these arguments
    python3 run.py test --fast         the same without tests that need a browser or an installation
    python3 run.py test --pgbouncer …   the same through PgBouncer in transaction mode
    python3 run.py manage ARGUMENT...  run a management command against the same database
    python3 run.py secrets FILE        print the secrets that `manage backup --secrets FILE` kept, as lines for .env
    python3 run.py bench [NAME...]     run these benchmarks, or all, and update docs/performance.md
    python3 run.py --version           print the version

Settings come from the environment and from a file .env next to this one. This program uses:

    PORT, HOST               where to listen (8000, 127.0.0.1); set BASE_URL if users see another address
    KEYWELL_VAR              the folder for data, logs and secrets (var)
    DATABASE_URL             your own PostgreSQL, instead of the one in that folder
    BROKER_URL               your own Valkey or Redis
    KEYWELL_ENV              the file with the settings (.env)
"""

# Use only the standard library: this file creates the environment that everything else is installed in.
from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

from benchmarks import BENCHMARKS
from runtime.machine import UNWRITABLE, hold, listen, reason, run, say
from version import version

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
INSIDE = Path(sys.prefix) == VENV
PYTHON = VENV / "bin/python"
STAMP = VENV / "keywell.json"
MADE_BY = f"Python {sys.version.split()[0]} of {sys.base_prefix} in {VENV}"
COMMANDS = ("init", "secrets", "test", "manage", "bench")


def main(arguments: list[str]) -> int:
    command = arguments[0] if arguments else "serve"
    if command in {"-h", "--help"} or (command == "bench" and {"-h", "--help"} & set(arguments)):
        say(__doc__)
        say(f"Benchmarks: {', '.join(BENCHMARKS)}")
        return 0
    if command == "--version":
        say(f"Keywell {version()}")
        return 0
    if arguments and command not in COMMANDS:
        print(__doc__, file=sys.stderr)
        return 2
    os.chdir(HERE)
    # SIGINT too: a shell that starts this in the background ignores it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        if not INSIDE:
            enter_environment(arguments)
        # Keeps Celery from renaming its processes: their commands are easier to find.
        os.environ["NOSETPS"] = "1"
        from runtime.commands import obey

        return obey(command, arguments[1:])
    except KeyboardInterrupt:
        return 130


# The environment


def enter_environment(arguments: list[str]) -> None:
    """Create or repair .venv if necessary, and restart this program inside it."""
    if not (3, 11) <= sys.version_info < (3, 15):
        others = [name for name in ("python3.14", "python3.13", "python3.12", "python3.11") if shutil.which(name)]
        remedy = f"Try: {others[0]} run.py" if others else "Install one of them beside this one."
        sys.exit(f"Keywell needs Python 3.11 to 3.14; this is {sys.version.split()[0]}. {remedy}")
    locks = (
        ["requirements.txt", "requirements-dev.txt"]
        if arguments[:1] in (["test"], ["bench"])
        else ["requirements.txt"]
    )
    if not is_prepared(locks):
        # Fail before the installation if the port is taken. A port from .env is checked later.
        settings = Path(os.environ.get("KEYWELL_ENV") or HERE / ".env")
        if not arguments and ("PORT" in os.environ or not settings.is_file()):
            listen().close()
        try:
            prepare(locks)
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            sys.exit(f"Cannot write to {VENV}, where the Python packages go: {error.strerror}.")
    os.execv(PYTHON, [str(PYTHON), __file__, *arguments])


def is_prepared(locks: list[str]) -> bool:
    stamp = read_stamp()
    return all(stamp.get(lock) == fingerprint(lock) for lock in locks)


def read_stamp() -> dict[str, str]:
    """Return a fingerprint of each lock file installed in .venv; empty if .venv is incomplete or moved."""
    try:
        stamp: dict[str, str] = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if stamp["made by"] == MADE_BY and PYTHON.exists() else {}


def fingerprint(lock: str) -> str:
    return hashlib.sha256((HERE / lock).read_bytes()).hexdigest()


def prepare(locks: list[str]) -> None:
    handle = hold(Path(__file__), timeout=600, notice="Waiting for another run.py to prepare the environment")
    if handle is None:
        sys.exit("Another run.py has been preparing the environment for ten minutes. Stop it and try again.")
    stamp = read_stamp()
    if not is_prepared(locks):
        say("Preparing the Python environment in .venv; the first time takes up to a minute")
        # The stamp is written last, so an interrupted installation starts over.
        STAMP.unlink(missing_ok=True)
        if not stamp:
            make = run([sys.executable, "-m", "venv", "--clear", "--without-pip", VENV], handle)
            if make.returncode:
                sys.exit(f"Cannot create {VENV}: {reason(make)}")
        install(locks, handle)
        STAMP.write_text(json.dumps(stamp | {"made by": MADE_BY} | {lock: fingerprint(lock) for lock in locks}))
    os.close(handle)


def install(locks: list[str], handle: int) -> None:
    """Use uv if it can be installed, which takes seconds, and pip otherwise."""
    packages = ["--quiet", "--require-hashes", *(word for lock in locks for word in ("-r", lock))]
    pip = [sys.executable, "-m", "pip"]
    has_pip = run([*pip, "--version"], handle).returncode == 0
    uv = shutil.which("uv")
    if not uv and has_pip:
        only_uv = ["--quiet", "--require-hashes", "-r", "requirements-uv.txt"]
        run([*pip, "install", "--target", VENV / "uv", *only_uv], handle)
        uv = shutil.which(VENV / "uv/bin/uv")
    if not uv and not has_pip:
        sys.exit("Keywell needs pip, or uv, to install its packages. On Debian: apt-get install python3-pip")
    if uv:
        settings = uv_settings(run([*pip, "config", "list"], handle).stdout) | os.environ
        result = run([uv, "pip", "install", "--compile-bytecode", "--python", PYTHON, *packages], handle, settings)
        if result.returncode == 0:
            return
    if has_pip:
        result = run([*pip, "--python", PYTHON, "install", *packages], handle)
    if result.returncode:
        sys.exit(f"Cannot install the Python packages. Is this machine offline, or its disk full? {reason(result)}")


def uv_settings(pip_configuration: str) -> dict[str, str]:
    """Return pip's indexes and trusted hosts as uv settings, since uv doesn't read pip's configuration."""
    names = {
        "index-url": "UV_DEFAULT_INDEX",
        "extra-index-url": "UV_INDEX",
        "find-links": "UV_FIND_LINKS",
        "trusted-host": "UV_INSECURE_HOST",
        "cert": "SSL_CERT_FILE",
    }
    # As pip does. Any index is safe, since every package has a known hash.
    settings = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    for section in ("global", "install", ":env:"):
        for name, value in re.findall(rf"^{section}\.([\w-]+)=(.*)$", pip_configuration, re.MULTILINE):
            if name in names:
                separator = "," if name == "find-links" else " "
                settings[names[name]] = separator.join(ast.literal_eval(value).split())
    return settings


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
