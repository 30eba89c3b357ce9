"""The commands of run.py, inside its environment."""

import argparse
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from benchmarks import BENCHMARKS
from runtime.configuration import is_demo
from runtime.embedded import EmbeddedServer, Postgres
from runtime.init import init
from runtime.installation import cannot_write, new_vault_key, prepare_demo, read_settings
from runtime.kept_secrets import SecretsError, read_passphrase, read_secrets
from runtime.machine import UNWRITABLE, hold, say, warn
from runtime.pgbouncer import PgBouncer
from runtime.serving import embedded_servers, serve, supervisor
from runtime.supervisor import ServiceError, die_with_parent, uninterrupted

CHECKS = [
    ["-m", "ruff", "check", "."],
    ["-m", "ruff", "format", "--check", "."],
    ["-m", "mypy", "."],
    ["manage.py", "makemigrations", "--check", "--dry-run"],
]
# Distributed by file, so that a module starts its installation only once. Some tests wait for what they started, so
# there is one more process than cores.
TESTS = [
    "-m",
    "pytest",
    "--numprocesses",
    str(min(4, (os.cpu_count() or 1) + 1)),
    "--dist",
    "loadfile",
    "--no-loadscope-reorder",
]
POOLED = "--pgbouncer"
FAST = ["-m", "not browser and not installation"]


def obey(command: str, arguments: list[str]) -> int:
    """Run a command of run.py; return its exit status."""
    try:
        return COMMANDS[command](arguments)
    except (ServiceError, SecretsError, ImproperlyConfigured) as error:
        sys.exit(str(error))
    except EOFError:
        sys.exit("\nThe terminal was closed before all questions were answered. Nothing was written.")
    except OSError as error:
        if error.errno in UNWRITABLE:
            sys.exit(cannot_write(error))
        raise


def manage(arguments: list[str]) -> int:
    var = read_settings()
    if is_demo():
        prepare_demo(var)
    servers = embedded_servers(var)
    if any(isinstance(server, Postgres) for server in servers) and not (var / "postgres").exists():
        warn(f"Note: {var} has no database yet. To use an installation elsewhere, set KEYWELL_VAR.")
    if servers and hold(var / "run.lock") is not None:
        with supervisor(var) as services:
            services.start(*servers)
            return foreground("manage.py", *arguments)
    for server in servers:
        server.wait_until_ready()
    return foreground("manage.py", *arguments)


def print_secrets(arguments: list[str]) -> int:
    """Print the secrets that `manage backup --secrets` wrote, as lines for .env."""
    parser = argparse.ArgumentParser(prog="python3 run.py secrets", description=print_secrets.__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--passphrase-file", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    say(read_secrets(options.file, read_passphrase(options.passphrase_file)).rstrip())
    return 0


def test(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="keywell-test-") as folder:
        os.environ.update(KEYWELL_VAR=folder, KEYWELL_ENV=os.devnull, EMAIL_URL="memorymail://")
        os.environ.update(SECRET_KEY=secrets.token_urlsafe(48), VAULT_KEYS=new_vault_key())
        # Without .pyc files, each process would compile all modules, and pytest would rewrite all assertions.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        var = Path(folder)
        (var / "log").mkdir()
        with supervisor(var) as services:
            servers = embedded_servers(var, durable=False)
            services.start(*servers)
            if POOLED in arguments:
                services.start(pooler(servers, var))
                arguments = [argument for argument in arguments if argument != POOLED]
            selection = [option for argument in arguments for option in (FAST if argument == "--fast" else [argument])]
            if arguments in ([], ["--fast"]):
                return check_everything(selection)
            return foreground("-m", "pytest", *selection)


def pooler(servers: Sequence[EmbeddedServer], var: Path) -> PgBouncer:
    """Return PgBouncer for the embedded PostgreSQL, and put its address into the settings."""
    postgres = next((server for server in servers if isinstance(server, Postgres)), None)
    if postgres is None:
        raise ServiceError(f"{POOLED} needs the PostgreSQL that run.py starts. Unset DATABASE_URL.")
    pgbouncer = PgBouncer(postgres, var)
    os.environ.update(pgbouncer.settings)
    return pgbouncer


def bench(names: list[str]) -> int:
    """Run benchmarks one after the other, so that they don't disturb each other."""
    names = [name.replace("-", "_") for name in names]
    if unknown := [name for name in names if name not in BENCHMARKS]:
        sys.exit(f"Unknown benchmark: {', '.join(unknown)}. Choose from {', '.join(BENCHMARKS)}.")
    for name in names or BENCHMARKS:
        say(f"\n== {name}")
        if status := foreground("-m", f"benchmarks.{name}"):
            return status
    return foreground("-m", "benchmarks.report")


def check_everything(selection: list[str]) -> int:
    """Run the other checks beside the tests, which often wait, and show their results afterward."""
    start = partial(subprocess.Popen, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    checks = [start([sys.executable, *check], preexec_fn=die_with_parent(signal.SIGTERM)) for check in CHECKS]
    status = foreground(*TESTS, *selection)
    if status > 128:
        return status
    failed = ["pytest"] if status else []
    for check, process in zip(CHECKS, checks, strict=True):
        say(f"\n$ python {' '.join(check)}\n{process.communicate()[0]}")
        if process.returncode:
            failed.append(" ".join(check))
    say(f"\nFailed: {', '.join(failed)}" if failed else "\nAll checks passed")
    return 1 if failed else 0


def foreground(*command: str) -> int:
    """Run Python with these arguments in the foreground; return its exit status as a shell would."""
    interrupted: list[int] = []
    with uninterrupted():
        child = subprocess.Popen([sys.executable, *command], preexec_fn=die_with_parent(signal.SIGTERM))
        # Ctrl-C reaches the command too, which decides what it means.
        before = signal.signal(signal.SIGINT, lambda number, _: interrupted.append(number))
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    status = child.wait()
    signal.signal(signal.SIGINT, before)
    signal.signal(signal.SIGTERM, before)
    if status and interrupted:
        return 130
    return status if status >= 0 else 128 - status


COMMANDS = {
    "serve": serve,
    "init": init,
    "secrets": print_secrets,
    "manage": manage,
    "test": test,
    "bench": bench,
}
