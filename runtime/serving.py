"""The services of one machine, and the command that runs them until it is stopped."""

import contextlib
import gc
import hashlib
import json
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import psycopg
from celery import current_app
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.urls import get_resolver

from runtime.configuration import BASE_DIR, doubtful_settings, is_demo, known_settings
from runtime.embedded import EmbeddedServer, Postgres, Valkey
from runtime.installation import prepare_demo, read_settings
from runtime.log_rotation import LogRotation
from runtime.machine import hold, listen, run, say, warn
from runtime.sizing import processes
from runtime.supervisor import (
    OnDemandWorker,
    Service,
    Supervisor,
    WebProcesses,
    WorkerService,
    limit_arenas,
)
from vault.ciphers import UnknownKey, check_key_of

# The content of run.lock after a run was asked to stop
STOPPING = b"stopping"
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
    "portal.celery",
    "portal.wsgi",
]
DEMO_NOTICE = """\
This is a demo: its data is made up, its passwords are in a file, and its e-mails reach nobody.
For a real installation, stop it and run: python3 run.py init
"""


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
    return Supervisor(lock, say, LogRotation.from_settings())


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


def check_settings() -> None:
    """Read all settings, before anything starts. Raises ImproperlyConfigured."""
    try:
        settings.DEBUG  # noqa: B018
    except ValueError as error:
        raise ImproperlyConfigured(f"A setting is invalid: {error}") from error


def load() -> None:
    """Import what the services share, which takes longest at their start."""
    limit_arenas()
    for module in LOADED:
        import_module(module)
    get_resolver().url_patterns  # noqa: B018
    current_app.finalize()
    # Keeps the garbage collector from touching, and so copying, memory shared with the forks.
    gc.collect()
    gc.freeze()


def serve(_: list[str]) -> int:
    return run_services(read_settings())


def run_services(var: Path, *, complete: Callable[[int], None] = lambda lock: None, stay: bool = True) -> int:
    """Run all services until Ctrl-C. Calls `complete` after migrating; without `stay`, it ends after that.

    Commands of `complete` inherit the lock.
    """
    take_folder(var)
    demo = is_demo()
    with supervisor(var, say) as services:
        listen().close()
        if demo:
            prepare_demo(var)
            say(DEMO_NOTICE)
        for text in doubtful_settings():
            warn(text)
        servers = embedded_servers(var)
        check_settings()
        say(f"Starting Keywell in {var}")
        # The counters of an earlier run, perhaps of another version.
        shutil.rmtree(var / "metrics", ignore_errors=True)
        with contextlib.suppress(KeyboardInterrupt):
            services.start(*servers, meanwhile=load if stay else lambda: None)
            check_vault_keys()
            set_up(var, demo, services.lock)
            complete(services.lock)
            if not stay:
                return 0
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


def check_vault_keys() -> None:
    """Refuse to start with keys that don't fit the database: no code could be read. A new database fits all keys."""
    try:
        with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
            if connection.execute("SELECT to_regclass('vault_fingerprintkey')").fetchone() == (None,):
                return
            row = connection.execute("SELECT key FROM vault_fingerprintkey").fetchone()
    except psycopg.Error as error:
        sys.exit(f"Cannot use the database (DATABASE_URL): {error}")
    try:
        if row:
            check_key_of(row[0])
    except UnknownKey as error:
        sys.exit(
            f"{error} Without that key, no activation code can be read. Put it into VAULT_KEYS, or restore the"
            " database that belongs to the key in VAULT_KEYS."
        )


def code_version() -> str:
    """Return a fingerprint of everything the setup depends on: migrations, packages, the demo, settings."""
    digest = hashlib.sha256((BASE_DIR / "requirements.txt").read_bytes())
    for pattern in ("*/migrations/*.py", "*/sources/*/migrations/*.py", "demo/**/*.py", "portal/settings.py"):
        for path in sorted(BASE_DIR.glob(pattern)):
            digest.update(path.read_bytes())
    for name in sorted(known_settings()):
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
    if os.environ.get("EMAIL_URL", "").startswith("filemail:"):
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
