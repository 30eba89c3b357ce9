"""Several web servers and workers on one PostgreSQL and one Valkey, as on several machines."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import requests

from runtime.embedded import EmbeddedServer, Postgres, Valkey
from runtime.installation import new_vault_key
from runtime.supervisor import die_with_parent
from runtime.tests.installation import PROJECT, TIMEOUT, free_port, wait_until
from runtime.tests.sink import Sink

CELERY = ["-m", "celery", "--app", "portal"]
WORKER = [*CELERY, "worker", "--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--queues"]
SERVICES = {
    "worker": [*WORKER, "celery", "--concurrency", "2"],
    "callouts": [*WORKER, "callouts", "--pool", "threads", "--concurrency", "8", "--beat-thread"],
}
CLIENTS = 8
COUNT_CODES = """
    SELECT count(DISTINCT o.id), count(code.id), count(DISTINCT code.fingerprint)
    FROM orders_order o JOIN orders_orderitem item ON item.order_id = o.id
    LEFT JOIN orders_activationcode code ON code.item_id = item.id
    WHERE o.number LIKE %s
"""


class Cluster:
    """PostgreSQL, Valkey and a mail server, which groups share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sink = Sink(free_port())
        self.servers: list[EmbeddedServer] = [Postgres(folder, durable=False), Valkey(folder, durable=False)]
        self.settings = {
            "KEYWELL_ENV": os.devnull,
            "KEYWELL_VAR": str(folder),
            "DJANGO_SETTINGS_MODULE": "portal.settings",
            "DJANGO_DEBUG": "off",
            "SECRET_KEY": secrets.token_urlsafe(48),
            "VAULT_KEYS": new_vault_key(),
            "EMAIL_URL": f"smtp://127.0.0.1:{self.sink.port}",
            "BASE_URL": "http://localhost",
            **{server.setting: server.url for server in self.servers},
        }
        (folder / "log").mkdir()

    def manage(self, *arguments: str, code: Path = PROJECT) -> str:
        command = [sys.executable, "manage.py", *arguments]
        environment = os.environ | self.settings
        result = subprocess.run(command, cwd=code, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def fill(self, keys: int, *, code: Path = PROJECT) -> None:
        """Create the demo's merchant, and this number of keys of Photo Lite."""
        self.manage("migrate", code=code)
        self.manage("demo", code=code)
        path = self.folder / "keys.txt"
        path.write_text("\n".join(f"GROUP-{number:08}-ABCDE" for number in range(keys)))
        self.manage("import_keys", "Photo Lite", str(path), "--merchant", "northlight", code=code)

    def api_key(self) -> str:
        lines = (self.folder / "demo.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)["API_KEY"]

    def check(self, prefix: str, count: int) -> None:
        """Wait for all e-mails. Check that each order has its own code."""
        with psycopg.connect(self.settings["DATABASE_URL"]) as connection:
            assert connection.execute(COUNT_CODES, [f"{prefix}%"]).fetchone() == (count, count, count)
        numbers = {f"{prefix}{number}" for number in range(count)}
        wait_until(lambda: numbers <= set(self.mailed()))
        # A worker that is killed may have sent an e-mail without recording it (docs/decisions/0003).
        repeated = self.sink.received()
        assert sum(repeated.values()) - len(repeated) <= 40, repeated.most_common(3)
        self.manage("audit", "--texts")

    def mailed(self) -> Counter[str]:
        """How many e-mails each order got, by its number, which is also the customer’s name."""
        return Counter(address.partition("@")[0] for address in self.sink.recipients)


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="keywell-"))
    shared = Cluster(folder)
    shared.sink.start()
    try:
        for server in shared.servers:
            server.start()
        for server in shared.servers:
            server.wait_until_ready()
        yield shared
    finally:
        for server in shared.servers:
            server.stop()
        shared.sink.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Group:
    """A web server and its workers."""

    def __init__(self, shared: Cluster, name: str, *, code: Path = PROJECT) -> None:
        self.shared, self.name, self.code = shared, name, code
        self.settings: dict[str, str] = {}  # different from the others'
        self.port = free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        web = ["-m", "runtime.web", "--address", f"127.0.0.1:{self.port}", "--processes", "2"]
        for service, arguments in ({"web": web} | SERVICES).items():
            node = [] if service == "web" else ["--hostname", f"{service}-{self.name}@localhost"]
            with (self.shared.folder / f"log/{service}-{self.name}.log").open("ab") as log:
                self.processes[service] = subprocess.Popen(
                    [sys.executable, *arguments, *node],
                    cwd=self.code,
                    env=os.environ | self.shared.settings | self.settings,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    preexec_fn=die_with_parent(signal.SIGTERM),
                )
        wait_until(self.is_ready)

    def restart(self, **settings: str) -> None:
        self.stop()
        self.settings = settings
        self.start()

    def is_ready(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"http://127.0.0.1:{self.port}/healthz", timeout=TIMEOUT).status_code == 200
        return False

    def kill(self, service: str) -> None:
        """End all of its processes at once, as when a machine loses its power."""
        process = self.processes.pop(service)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(TIMEOUT)
        self.processes = {}


class Shop:
    """Reports payments to the groups in turn, each until one of them accepts it."""

    def __init__(self, shared: Cluster, groups: Iterable[Group]) -> None:
        self.headers = {"Authorization": f"Bearer {shared.api_key()}"}
        self.ports = [group.port for group in groups]
        self.local = threading.local()
        self.statuses: Counter[int] = Counter()  # 0: no connection, or it broke

    def pay_all(self, prefix: str, count: int, *, then: dict[int, list] | None = None) -> None:
        """Report payments. `then` maps numbers of accepted payments to functions to call at that time."""
        accepted = 0
        with ThreadPoolExecutor(CLIENTS) as clients:
            for _ in clients.map(lambda number: self.pay(prefix, number), range(count)):
                accepted += 1
                for act in (then or {}).get(accepted, []):
                    act()

    def pay(self, prefix: str, number: int) -> None:
        payment = {
            "order": f"{prefix}{number}",
            "paid_at": "2026-11-30T10:00:00Z",
            "currency": "EUR",
            "customer": {"email": f"{prefix}{number}@example.com"},
            "items": [{"item": "1", "product": "PHOTO-LITE", "quantity": 1, "total_price": "9.99"}],
        }
        for attempt in range(1000):
            ports = list(self.ports)
            status = self._report(ports[(number + attempt) % len(ports)], payment)
            self.statuses[status] += 1
            if status in {200, 201}:
                return
            assert status == 0 or status >= 500, status
            time.sleep(0.05)
        raise AssertionError(f"order {prefix}{number} was never accepted")

    def _report(self, port: int, payment: dict) -> int:
        session = self.local.__dict__.setdefault("session", requests.Session())
        url = f"http://127.0.0.1:{port}/api/v1/payments/"
        headers = self.headers | {"Host": "localhost"}
        try:
            return int(session.post(url, json=payment, headers=headers, timeout=TIMEOUT).status_code)
        except requests.RequestException:
            return 0
