"""Programs that run until they are told to stop, and the one that looks after them."""

import contextlib
import ctypes
import http.client
import os
import signal
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from celery import Celery
from kombu.exceptions import OperationalError

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
INTERRUPTS = [signal.SIGINT, signal.SIGTERM]


class ServiceError(Exception):
    """A service cannot be had, or does not stay. The message is for the person at the terminal."""


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for the end of the block: Python can lose a KeyboardInterrupt raised while it forks."""
    signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)


def die_with_parent(stop_signal: int) -> Callable[[], None]:
    """For `preexec_fn`: the new process gets the signal when this one ends, even by kill -9.

    More exactly when the *thread* that starts it ends: start from the main thread.
    """
    parent = os.getpid()

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)
        if hasattr(LIBC, "prctl"):
            LIBC.prctl(PR_SET_PDEATHSIG, int(stop_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


class Service:
    """A program that runs until it is stopped, with a log file and a process group of its own."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        *,
        stop_signal: int = signal.SIGTERM,
        patience: float = 10,
    ) -> None:
        self.name = name
        self.command = command
        self.log = log
        self.stop_signal = stop_signal
        self.patience = patience
        self.pass_fds: Sequence[int] = ()
        self.process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self) -> None:
        with self.log.open("ab") as log, uninterrupted():
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self.pass_fds,
                preexec_fn=die_with_parent(self.stop_signal),
            )

    def problem(self) -> str | None:
        """What keeps it from serving; None once it serves."""
        return None

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while (problem := self.problem()) is not None:
            if self.exit_status() is not None:
                raise ServiceError(f"{self.name} did not start. {self.story()}")
            if time.monotonic() > deadline:
                raise ServiceError(f"{self.name} does not serve after a minute: {problem}. {self.story()}")
            time.sleep(0.05)

    def exit_status(self) -> int | None:
        """None while it runs, and when it was never started."""
        return self.process.poll() if self.process else None

    def stop(self, patience: float | None = None) -> None:
        """Ask it to end and, out of patience, end it. Nothing of its process group remains."""
        if self.process is None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(self.patience if patience is None else patience)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """End whatever is left of its process group, at once."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def story(self) -> str:
        """The end of what it wrote since it was last started."""
        with self.log.open(errors="replace") as log:
            log.seek(self._log_start)
            return f"{self.log} ends with:\n{''.join(log.readlines()[-12:]).rstrip()}"


class WebService(Service):
    def __init__(self, command: Sequence[str], log: Path, address: tuple[str, int], base_url: str) -> None:
        super().__init__("web", command, log)
        self.address = address
        # As people reach it: the answer may depend on the name that they use.
        self.headers = {"Host": urlsplit(base_url).netloc, "X-Forwarded-Proto": urlsplit(base_url).scheme}

    def problem(self) -> str | None:
        connection = http.client.HTTPConnection(*self.address, timeout=10)
        try:
            connection.request("GET", "/healthz", headers=self.headers)
            response = connection.getresponse()
            answer = response.read(500).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return str(error)
        finally:
            connection.close()
        return None if response.status == 200 else f"/healthz answers {response.status} {answer}"


class WorkerService(Service):
    """A Celery worker."""

    def __init__(self, name: str, command: Sequence[str], log: Path, broker_url: str) -> None:
        self.node = f"{name}@{socket.gethostname()}"
        super().__init__(name, [*command, "--hostname", self.node], log, patience=20)
        self.broker_url = broker_url

    def problem(self) -> str | None:
        # It answers once it takes tasks.
        with Celery(broker=self.broker_url, set_as_current=False) as app:
            try:
                answers = app.control.ping(destination=[self.node], timeout=0.3, limit=1)
            except OperationalError as error:
                return f"the broker does not answer: {error}"
        return None if answers else "it does not answer yet"


class Supervisor:
    """Starts services, starts again what dies, and stops all of them, last first, at the end of its block."""

    def __init__(self, lock: int, say: Callable[[str], None]) -> None:
        """The services inherit the handle of the lock: it is free when the last of their processes has ended."""
        self.lock = lock
        self.say = say
        self.services: list[Service] = []
        self.deaths: dict[Service, list[float]] = defaultdict(list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        patience = None
        for service in reversed(self.services):
            try:
                service.stop(patience)
            except KeyboardInterrupt:
                # Asked twice: no more waiting for work to be finished.
                patience = 1

    def start(self, *services: Service) -> None:
        for service in services:
            service.pass_fds = [self.lock]
            self.services.append(service)
            service.start()
        for service in services:
            service.wait_until_ready()

    def look_after(self) -> None:
        """To be called several times a second."""
        for service in self.services:
            status = service.exit_status()
            if status is not None:
                self._start_again(service, status)

    def _start_again(self, service: Service, status: int) -> None:
        now = time.monotonic()
        recent = self.deaths[service] = [*(at for at in self.deaths[service] if at > now - 60), now]
        # What somebody kills, or the kernel for want of memory, would have gone on: the others need not end for it.
        if len(recent) >= 5 and status != -signal.SIGKILL:
            raise ServiceError(f"{service.name} ended {len(recent)} times within a minute. {service.story()}")
        cause = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        self.say(f"{service.name} ended ({cause}); starting it again")
        service.kill()  # what it left behind, such as a worker's children
        time.sleep(min(0.25 * 2 ** len(recent), 4))
        service.start()
