#!/usr/bin/env python3
"""Keywell on one machine, from a fresh clone to a running service.

    python3 run.py                     start everything; Ctrl-C stops it
    python3 run.py test [ARGUMENT...]  check the code and run all tests; or run pytest with these arguments
    python3 run.py test --fast         the same without tests that need a browser or an installation
    python3 run.py manage ARGUMENT...  run a management command against the same database
    python3 run.py bench [NAME...]     run these benchmarks, or all, and update docs/performance.md
    python3 run.py --version           print the version

Settings come from the environment and from a file .env next to this one. This program uses:

    PORT, HOST               where to listen (8000, 127.0.0.1); set BASE_URL if users see another address
    KEYWELL_VAR              the folder for data, logs and secrets (var)
    DATABASE_URL             your own PostgreSQL, instead of the one in that folder
    BROKER_URL               your own Valkey or Redis
    DJANGO_DEBUG             off: no demo; then SECRET_KEY and VAULT_KEYS are required
"""

# Use only the standard library: this file creates the environment that everything else is installed in.
from __future__ import annotations

import ast
import base64
import contextlib
import errno
import fcntl
import gc
import hashlib
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from subprocess import CompletedProcess

from version import version

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
INSIDE = Path(sys.prefix) == VENV
if INSIDE:
    # Keeps Celery from renaming its processes: their commands are easier to find.
    os.environ["NOSETPS"] = "1"

    import environ
    import psycopg

    from runtime.embedded import EmbeddedServer, Postgres, Valkey
    from runtime.log_rotation import InvalidSetting, LogRotation
    from runtime.sizing import processes
    from runtime.supervisor import (
        OnDemandWorker,
        Service,
        ServiceError,
        Supervisor,
        WebProcesses,
        WorkerService,
        die_with_parent,
        limit_arenas,
        uninterrupted,
    )

PYTHON = VENV / "bin/python"
STAMP = VENV / "keywell.json"
# The content of run.lock after a run was asked to stop
STOPPING = b"stopping"
MADE_BY = f"Python {sys.version.split()[0]} of {sys.base_prefix} in {VENV}"

# What only some services import, most of them after their start.
LOADED = [
    "celery.bin.celery",
    "celery.apps.worker",
    "celery.concurrency.prefork",
    "celery.concurrency.thread",
    "celery.fixups.django",
    "celery.worker.components",
    "celery.worker.consumer",
    "kombu.transport.redis",
    "runtime.web",
]

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
FAST = ["-m", "not browser and not installation"]
BENCHMARKS = sorted(path.stem for path in (HERE / "benchmarks").glob("*.py") if "def main(" in path.read_text())


def main(arguments: list[str]) -> int:
    command = arguments[0] if arguments else "serve"
    if command in {"-h", "--help"} or (command == "bench" and {"-h", "--help"} & set(arguments)):
        say(__doc__)
        say(f"Benchmarks: {', '.join(BENCHMARKS)}")
        return 0
    if command == "--version":
        say(f"Keywell {version()}")
        return 0
    if arguments and command not in {"test", "manage", "bench"}:
        print(__doc__, file=sys.stderr)
        return 2
    os.chdir(HERE)
    # SIGINT too: a shell that starts this in the background ignores it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        if not INSIDE:
            enter_environment(arguments)
        return obey(command, arguments[1:])
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}:
            sys.exit(cannot_write(error))
        raise


def obey(command: str, arguments: list[str]) -> int:
    try:
        return {"serve": serve, "test": test, "manage": manage, "bench": bench}[command](arguments)
    except ServiceError as error:
        sys.exit(str(error))


def say(message: str) -> None:
    # Flushed immediately. A closed terminal does no harm.
    with contextlib.suppress(OSError):
        os.write(1, f"{message}\n".encode())


def cannot_write(error: OSError) -> str:
    if INSIDE:
        var = os.environ["KEYWELL_VAR"]
        return f"Cannot write to {var}: {error.strerror}. Make room, or set KEYWELL_VAR to another folder."
    return f"Cannot write to {VENV}, where the Python packages go: {error.strerror}."


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
            print(notice, file=sys.stderr, flush=True)
            notice = ""
        time.sleep(0.1)


# The environment


def enter_environment(arguments: list[str]) -> None:
    """Create or repair .venv if necessary, and restart this program inside it."""
    if not (3, 11) <= sys.version_info < (3, 14):
        others = [name for name in ("python3.13", "python3.12", "python3.11") if shutil.which(name)]
        remedy = f"Try: {others[0]} run.py" if others else "Install one of them beside this one."
        sys.exit(f"Keywell needs Python 3.11 to 3.13; this is {sys.version.split()[0]}. {remedy}")
    locks = (
        ["requirements.txt", "requirements-dev.txt"]
        if arguments[:1] in (["test"], ["bench"])
        else ["requirements.txt"]
    )
    if not is_prepared(locks):
        # Fail before the installation if the port is taken. A port from .env is checked later.
        if not arguments and ("PORT" in os.environ or not (HERE / ".env").exists()):
            listen().close()
        prepare(locks)
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


def run(command: list[str | Path], lock: int, env: dict[str, str] | None = None) -> CompletedProcess[str]:
    """The command inherits the lock: if this process is killed, the next one waits until the command has ended."""
    return subprocess.run(command, pass_fds=[lock], env=env, capture_output=True, text=True)


def reason(result: CompletedProcess[str]) -> str:
    lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["It gave no reason."])[-1]


# Settings


def read_settings() -> Path:
    """Complete the environment, which all child processes inherit, and return the data folder."""
    if (HERE / ".env").exists():
        environ.Env.read_env(HERE / ".env")
    for name in ("KEYWELL_VAR", "BASE_URL", "DJANGO_DEBUG", "EMAIL_URL", "STAFF_SECOND_FACTOR_REQUIRED"):
        if os.environ.get(name) == "":
            del os.environ[name]
    host, port = address()
    seen = "localhost" if host in {"0.0.0.0", "::"} else bracketed(host)
    os.environ.setdefault("BASE_URL", f"http://{seen}:{port}")
    var = (HERE / os.environ.get("KEYWELL_VAR", "var")).resolve()
    # Django's checks take as long as a worker's start. They run once, before migrating.
    os.environ.update(KEYWELL_VAR=str(var), DJANGO_SETTINGS_MODULE="portal.settings", CELERY_SKIP_CHECKS="1")
    try:
        var.mkdir(mode=0o700, parents=True, exist_ok=True)
        (var / "log").mkdir(exist_ok=True)
    except OSError as error:
        sys.exit(cannot_write(error))
    return var


def address() -> tuple[str, int]:
    host, port = os.environ.get("HOST") or "127.0.0.1", os.environ.get("PORT") or "8000"
    if not (port.isdecimal() and 0 < int(port) < 65536):
        sys.exit(f"PORT must be a number from 1 to 65535, not {port!r}.")
    return host, int(port)


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def listen() -> socket.socket:
    host, port = address()
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        another = f"Set PORT to another one: PORT={port + 1} python3 run.py"
        sys.exit(f"Cannot listen on port {port} of {host}: {str(error.strerror).split(' (')[0]}. {another}")


def is_demo() -> bool:
    """Return whether this is a demo: neither a DATABASE_URL nor DJANGO_DEBUG=off is set."""
    debug = os.environ.get("DJANGO_DEBUG", "on").lower() in environ.Env.BOOLEAN_TRUE_STRINGS
    return debug and not os.environ.get("DATABASE_URL")


def prepare_demo(var: Path) -> None:
    """Create, once, the secrets that a production installation must provide."""
    path = var / "secrets.env"
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=var, prefix="secrets.") as new:
            new.write(f"SECRET_KEY={secrets.token_urlsafe(48)}\nVAULT_KEYS={new_vault_key()}\n")
            new.flush()
            with contextlib.suppress(FileExistsError):
                os.link(new.name, path)
    environ.Env.read_env(path)
    os.environ.setdefault("STAFF_SECOND_FACTOR_REQUIRED", "off")


def new_vault_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


# Services


def embedded_servers(var: Path, *, durable: bool = True) -> list[EmbeddedServer]:
    """Return the servers that the settings don't replace, and put their addresses into the settings."""
    servers = [Postgres(var, durable=durable), Valkey(var, durable=durable)]
    servers = [server for server in servers if not os.environ.get(server.setting)]
    os.environ.update({server.setting: server.url for server in servers})
    return servers


def supervisor(var: Path, say: Callable[[str], None] = lambda line: None) -> Supervisor:
    path = var / "servers.lock"
    lock = hold(path, timeout=30, notice="Waiting for processes of an earlier run to end")
    if lock is None:
        sys.exit(f"Processes of an earlier run don't end. To see their ids: fuser {path}")
    try:
        return Supervisor(lock, say, LogRotation.from_settings(os.environ))
    except InvalidSetting as error:
        sys.exit(str(error))


def applications(var: Path) -> list[Service]:
    worker = ["--app", "portal", "worker", "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
    broker = os.environ["BROKER_URL"]
    count = str(processes())
    return [
        WorkerService("worker", [*worker, "--concurrency", count], var / "log/worker.log", broker),
        # A separate worker, since other servers can be slow and must not delay e-mails. It has many threads, which
        # mostly wait, and sends MAX_PER_HOST requests to one host at a time (outbound/outgoing_requests.py). Another
        # thread runs the periodic tasks.
        WorkerService(
            "callouts",
            [*worker, "--queues", "callouts", "--pool", "threads", "--concurrency", "64", "--beat-thread"],
            var / "log/callouts.log",
            broker,
        ),
        # A separate worker with low priority: a million keys take minutes, and customers come first.
        OnDemandWorker("imports", [*worker, "--concurrency", "1"], var / "log/imports.log", broker, niceness=10),
        WebProcesses(var / "log/web.log", listen(), os.environ["BASE_URL"], count),
    ]


def load() -> None:
    """Import what the services share, which takes longest at their start."""
    limit_arenas()
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    try:
        settings.DEBUG  # noqa: B018
        for module in LOADED:
            import_module(module)
        from django.urls import get_resolver

        from portal import celery_app, wsgi  # noqa: F401

        get_resolver().url_patterns  # noqa: B018
        celery_app.finalize()
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    except ValueError as error:
        # A number in a setting
        if settings.configured:
            raise
        sys.exit(f"A setting is invalid: {error}")
    # Keeps the garbage collector from touching, and so copying, memory shared with the forks.
    gc.collect()
    gc.freeze()


# Commands


def serve(_: list[str]) -> int:
    var = read_settings()
    take_folder(var)
    demo = is_demo()
    with supervisor(var, say) as services:
        listen().close()
        if demo:
            prepare_demo(var)
        say(f"Starting Keywell in {var}")
        # The counters of an earlier run, perhaps of another version.
        shutil.rmtree(var / "metrics", ignore_errors=True)
        with contextlib.suppress(KeyboardInterrupt):
            services.start(*embedded_servers(var), meanwhile=load)
            set_up(var, demo, services.lock)
            services.start(*applications(var))
            print_addresses(var, demo)
            while True:
                services.look_after()
                time.sleep(0.2)
        say("Stopping Keywell after running requests and tasks finish")
        stopped_at = time.monotonic()
        with contextlib.suppress(OSError):
            (var / "run.lock").write_bytes(STOPPING)
    say(f"Stopped after {time.monotonic() - stopped_at:.1f} s")
    return 0


def take_folder(var: Path) -> None:
    """Lock the folder for this run. Wait for an earlier run that is stopping."""
    path = var / "run.lock"
    is_stopping = path.exists() and path.read_bytes() == STOPPING
    notice = f"Keywell is still stopping in this folder, {var}. It starts when that is done."
    if hold(path, timeout=60 if is_stopping else 0, notice=notice) is None:
        sys.exit(f"Keywell is already running in this folder, {var}. For another one, set KEYWELL_VAR and PORT.")
    path.write_bytes(b"")


def set_up(var: Path, demo: bool, lock: int) -> None:
    """Migrate and fill an empty demo, in one process to start Django only once.

    Skipped if this code already set up the same database: it takes most of the time of a start.
    """
    started_at = time.monotonic()
    stamp = var / "set-up.json"
    if is_set_up(stamp):
        return
    say("  Setting up the database" + (" and the demo; the first time takes a minute" if demo else ""))
    script = "import django; from django.core.management import call_command; django.setup();"
    script += "call_command('migrate', interactive=False);" + ("call_command('demo', if_empty=True)" if demo else "")
    result = run([sys.executable, "-c", script], lock)
    if result.returncode:
        log = var / "log/setup.log"
        log.write_text(result.stdout + result.stderr)
        # A traceback ends with the error's name and message, then details.
        errors = re.findall(r"^([\w.]+): (.*)", result.stderr, re.MULTILINE)
        name, message = errors[-1] if errors else ("", f"it ended with {result.returncode}")
        if name.endswith("InconsistentMigrationHistory"):
            begin = f"Start with an empty database, or delete the folder {var}."
            message = f"its tables are from before the first release. {begin}"
        sys.exit(message if name.endswith("ImproperlyConfigured") else f"Migrating failed: {message}\nSee {log}")
    stamp.write_text(json.dumps([code_version(), applied_migrations()]))
    say(f"  database is set up after {time.monotonic() - started_at:.1f} s")


def is_set_up(stamp: Path) -> bool:
    try:
        return bool(json.loads(stamp.read_text()) == [code_version(), applied_migrations()])
    except (OSError, ValueError, psycopg.Error):
        return False


def code_version() -> str:
    """Return a fingerprint of everything the setup depends on: migrations, packages, the demo, settings."""
    digest = hashlib.sha256(fingerprint("requirements.txt").encode())
    for pattern in ("*/migrations/*.py", "*/sources/*/migrations/*.py", "demo/**/*.py", "portal/settings.py"):
        for path in sorted(HERE.glob(pattern)):
            digest.update(path.read_bytes())
    for name in re.findall(r"^#?\s*([A-Z][A-Z_]+)=", (HERE / ".env.example").read_text(), re.MULTILINE):
        digest.update(f"{name}={os.environ.get(name)}\n".encode())
    return digest.hexdigest()


def applied_migrations() -> int:
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        row = connection.execute("SELECT count(*) FROM django_migrations").fetchone()
    return row[0] if row else 0


def print_addresses(var: Path, demo: bool) -> None:
    base = os.environ["BASE_URL"].rstrip("/")
    access = read_access(var / "demo.env") if demo else {}

    def signing_in(*names: str) -> str:
        found = [access[name] for name in names if name in access]
        return f" as {' or '.join(found)}" if found else ""

    lines = [
        f"\nKeywell runs at {base}/; Ctrl-C stops it.\n",
        f"  Merchants       {base}/{signing_in('OWNER_LOGIN', 'SUPPORT_LOGIN')}",
        f"  Support staff   {base}/admin/{signing_in('STAFF_LOGIN')}",
        f"  REST API        {base}/api/docs/",
        f"  Licensing API   {base}/core/v2/rest/{signing_in('NLIC_USER')}",
    ]
    if "EMAIL_URL" not in os.environ:
        lines += [f"  E-mails         {base}/mailbox/"]
    if access:
        lines += [f"  Passwords       {var}/demo.env"]
    lines += [f"  Logs            {var}/log"]
    if access:
        lines += [f"\nReport another payment:\n\n{payment(base, access['API_KEY'])}\n"]
    say("\n".join(lines))


def read_access(path: Path) -> dict[str, str]:
    """Return the demo's credentials, and keep the address in their file current."""
    if not path.exists():
        return {}
    found = path.read_text()
    current = re.sub(r"^BASE_URL=.*", f"BASE_URL={os.environ['BASE_URL']}", found, flags=re.MULTILINE)
    if current != found:
        path.write_text(current)
    return dict(re.findall(r"^(\w+)=(.*)$", current, re.MULTILINE))


def payment(base: str, api_key: str) -> str:
    customer = {"email": "ada@example.com", "first_name": "Ada", "last_name": "Byron", "company": "", "country": "GB"}
    item = {"item": "1", "product": "PHOTO-PRO", "quantity": 2, "total_price": "59.98"}
    paid_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    order: dict[str, object] = {"order": f"D{int(time.time())}", "paid_at": paid_at}
    order |= {"currency": "EUR", "checkout_page": "main", "language": "en", "customer": customer, "items": [item]}
    headers = ["-H", f"Authorization: Bearer {api_key}", "-H", "Content-Type: application/json"]
    return shlex.join(["curl", f"{base}/api/v1/payments/", *headers, "-d", json.dumps(order)])


def manage(arguments: list[str]) -> int:
    var = read_settings()
    if is_demo():
        prepare_demo(var)
    servers = embedded_servers(var)
    if any(isinstance(server, Postgres) for server in servers) and not (var / "postgres").exists():
        print(f"Note: {var} has no database yet. To use an installation elsewhere, set KEYWELL_VAR.", file=sys.stderr)
    if servers and hold(var / "run.lock") is not None:
        with supervisor(var) as services:
            services.start(*servers)
            return foreground("manage.py", *arguments)
    for server in servers:
        server.wait_until_ready()
    return foreground("manage.py", *arguments)


def test(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="keywell-test-") as folder:
        os.environ.update(KEYWELL_VAR=folder, SECRET_KEY=secrets.token_urlsafe(48), VAULT_KEYS=new_vault_key())
        # Without .pyc files, each process would compile all modules, and pytest would rewrite all assertions.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        var = Path(folder)
        (var / "log").mkdir()
        with supervisor(var) as services:
            services.start(*embedded_servers(var, durable=False))
            selection = [option for argument in arguments for option in (FAST if argument == "--fast" else [argument])]
            if arguments in ([], ["--fast"]):
                return check_everything(selection)
            return foreground("-m", "pytest", *selection)


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
