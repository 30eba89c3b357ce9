"""Shared by benchmarks and faults: an installation to measure, requests to it, and other servers."""

import contextlib
import http.client
import json
import os
import re
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import django
import requests
from django.core.management import call_command

from runtime.installation import prepare_demo, read_settings
from runtime.serving import embedded_servers, supervisor
from runtime.tests.installation import PROJECT, TIMEOUT, UNSET, Keywell, descendants, free_port, wait_until
from runtime.tests.sink import Sink

Env = Mapping[str, str]
JSON = "application/json"
TICKS = os.sysconf("SC_CLK_TCK")
# The name of a service in the command of its first process.
SERVICE = re.compile(r"--hostname (\w+)@|-m runtime\.(web)\b|\b(postgres|valkey)\b")


@contextlib.contextmanager
def database(folder: Path | None = None) -> Iterator[Path]:
    """Start PostgreSQL and Valkey as in production; models can be imported inside the block.

    Ignores a developer's settings. A given folder is kept, and its data reused.
    """
    for name in ("SECRET_KEY", "VAULT_KEYS"):
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory() as new:
        var = (folder or Path(new) / "var").resolve()
        os.environ.update(dict.fromkeys(UNSET, "") | {"KEYWELL_VAR": str(var), "KEYWELL_ENV": os.devnull})
        read_settings()
        prepare_demo(var)
        with supervisor(var) as services:
            services.start(*embedded_servers(var))
            django.setup()
            call_command("migrate", verbosity=0)
            yield Path(new)


@contextlib.contextmanager
def installation(folder: Path | None = None) -> Iterator[tuple[Keywell, Sink]]:
    """Yield an installation for the caller to start, and its mail server."""
    with tempfile.TemporaryDirectory(prefix="keywell-") as new:
        sink = Sink(free_port())
        sink.start()
        folder = folder or Path(new)
        folder.mkdir(exist_ok=True)
        keywell = Keywell(folder / "var")
        try:
            yield keywell, sink
        finally:
            keywell.stop()
            sink.stop()


@contextlib.contextmanager
def production(folder: Path | None = None) -> Iterator[tuple[Keywell, Env, Sink]]:
    """Yield a running production installation with the demo's data, the result of `install`, and its mail server.

    A given folder is kept, and its data reused.
    """
    with installation(folder) as (keywell, sink):
        yield keywell, install(keywell, sink), sink


def install(keywell: Keywell, sink: Sink) -> Env:
    """Create the demo's data and 20,000 more keys, then run as in production. Return the content of demo.env."""
    restart_in_production(keywell, sink)
    prefix = secrets.token_hex(2)  # the folder may have been used before
    keys = "\n".join(f"{prefix}-{number:06}" for number in range(20_000))
    env = read_env(keywell.var / "demo.env")
    assert post(env, "pools/2/keys/", keys, "text/plain") == 201
    return env


def restart_in_production(keywell: Keywell, sink: Sink, **settings: str) -> None:
    keywell.start()
    keywell.stop()
    settings |= read_env(keywell.var / "secrets.env") | {"EMAIL_URL": f"smtp://127.0.0.1:{sink.port}"}
    keywell.start(DJANGO_DEBUG="off", **settings)


def read_env(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def run_script(keywell: Keywell, script: str) -> str:
    """Run Python code in the installation; return its output."""
    result = keywell.run("manage", "shell", "--no-imports", "-c", script)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def settings_of(keywell: Keywell) -> dict[str, str]:
    """Return the environment of the installation's processes, for another process."""
    names = ["DATABASE_URL", "BROKER_URL", "EMAIL_URL"]
    found = run_script(keywell, f"import os; print(*map(os.environ.get, {names}))").split()
    given = dict(zip(names, found, strict=True)) | read_env(keywell.var / "secrets.env")
    return {name: value for name, value in keywell.environment(**given).items() if value}


@contextlib.contextmanager
def serve(command: list[str], env: Env | None = None) -> Iterator[int]:
    """Run a web server as run.py does; its command ends with the option for the address. Return its port."""
    port = free_port()
    address = str(port) if command[-1] == "--port" else f"127.0.0.1:{port}"
    command = [sys.executable, "-m", *command, address]
    server = subprocess.Popen(command, cwd=PROJECT, env=env, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: listens(port))
        yield port
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(10)
        server.kill()
        server.wait()


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.connect()
        return True
    return False


def ask(
    port: int,
    method: str,
    path: str,
    body: str | bytes | None = None,
    headers: Env | None = None,
    *,
    timeout: int = 60,
) -> tuple[int, str, float]:
    """Send one request on a new connection; return status, body and duration in seconds."""
    started_at = time.perf_counter()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)) as connection:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
    return response.status, text, time.perf_counter() - started_at


def post(env: Env, path: str, body: str, content_type: str = JSON) -> int:
    """Return the status of the API's answer."""
    headers = {"Authorization": f"Bearer {env['API_KEY']}", "Content-Type": content_type}
    return ask(int(env["BASE_URL"].rpartition(":")[2]), "POST", f"/api/v1/{path}", body, headers)[0]


def payment(number: str, sku: str = "PHOTO-LITE", email: str = "ada@example.com") -> str:
    return json.dumps(
        {
            "order": number,
            "paid_at": "2026-11-22T10:00:00Z",
            "currency": "EUR",
            "customer": {"email": email},
            "items": [{"item": "1", "product": sku, "quantity": 1, "total_price": "19.98"}],
        }
    )


class Owner:
    """The signed-in owner of the demo's merchant."""

    def __init__(self, env: Env) -> None:
        self.base, self.session = env["BASE_URL"], requests.Session()
        self.submit("/accounts/login/", {"login": env["OWNER_LOGIN"], "password": env["OWNER_PASSWORD"]})

    def submit(self, path: str, data: dict[str, str], files: dict | None = None) -> requests.Response:
        """Submit the form of a page; return the resulting page."""
        page = self.session.get(self.base + path, timeout=120)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token, page.text
        data, headers = data | {"csrfmiddlewaretoken": token[1]}, {"Referer": self.base + path}
        return self.session.post(self.base + path, data, files=files, headers=headers, timeout=300)


def services(keywell: Keywell) -> dict[str, Sequence[int]]:
    """Return the process ids of each service of an installation, and of run.py itself."""
    return {"run.py": [keywell.process.pid]} | services_of(keywell.process.pid)


def services_of(pid: int) -> dict[str, Sequence[int]]:
    """Return the process ids of each service among the children of a process, its first process first."""
    everything = descendants(pid)
    found: dict[str, Sequence[int]] = {}
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        if match := SERVICE.search(everything.get(child, "")):
            found[next(filter(None, match.groups()))] = [child, *descendants(child)]
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU seconds that the processes, and those of their children that have ended, have used."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))  # user and system time, then the same of waited-for children
    return ticks / TICKS


def cpu_by_service(keywell: Keywell, **others: Sequence[int]) -> Counter[str]:
    """Return the CPU seconds used so far per service, and by other processes. Subtract an earlier result."""
    return Counter({name: cpu_seconds(pids) for name, pids in (services(keywell) | others).items()})


@contextlib.contextmanager
def paused(keywell: Keywell, *names: str) -> Iterator[None]:
    """Suspend these services, so that they don't take CPU from what is measured."""
    pids = [pid for name in names for pid in services(keywell).get(name, [])]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


class Client:
    """A client that spends little CPU itself: it sends prepared bytes and reads only status and length."""

    def __init__(self, port: int, *, persistent: bool = True) -> None:
        self.port, self.persistent = port, persistent
        self.socket: socket.socket | None = None

    def send(self, request: bytes) -> int:
        """Send a request; return the status of its answer."""
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._receive()
        head, _, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        missing = int(length[1]) - len(body) if length else 0
        while missing > 0:
            missing -= len(self._receive())
        if not self.persistent or b"connection: close" in head.lower():
            self.close()
        return int(head[9:12])

    def _receive(self) -> bytes:
        assert self.socket
        received = self.socket.recv(65536)
        assert received, "the server closed the connection"
        return received

    def close(self) -> None:
        if self.socket:
            self.socket.close()
        self.socket = None


def encode(path: str, body: str, headers: Env) -> bytes:
    """Return a POST request as bytes."""
    content = body.encode()
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def send_all(clients: Sequence[Client], requests: Sequence[bytes]) -> float:
    """Send the requests, each client one after the other; return the seconds. Fails unless all are accepted."""
    shares = [requests[number :: len(clients)] for number in range(len(clients))]
    start = time.perf_counter()
    with ThreadPoolExecutor(len(clients)) as threads:
        statuses = threads.map(lambda client, share: {client.send(each) for each in share}, clients, shares)
        found = set().union(*statuses)
    seconds = time.perf_counter() - start
    assert found <= {200, 201}, found
    return seconds


def medians(rounds: Iterable[Iterable[float]]) -> list[float]:
    """Return the median over the rounds of each measured value."""
    return [statistics.median(values) for values in zip(*rounds, strict=True)]


def ratio(pairs: Iterable[tuple[float, float]]) -> float:
    """Return the median of each round's ratio, so a slow round doesn't matter."""
    return statistics.median(one / other for one, other in pairs)
