"""Long-running programs, and the supervisor that starts, restarts and stops them."""

import contextlib
import ctypes
import http.client
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Self
from urllib.parse import urlsplit

import kombu.pools
from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError
from setproctitle import setproctitle

from runtime.log_rotation import LogRotation

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
M_ARENA_MAX = -8
INTERRUPTS = [signal.SIGINT, signal.SIGTERM]
# Seconds before a service is restarted after its first exit, its second, and so on; the last value repeats.
PAUSES = (0.25, 1, 2, 4, 8, 15)
# Seconds in which a service must become ready.
START_TIMEOUT = 300
# Seconds after which a start says what it is waiting for.
NOTICE_AFTER = 5
# Seconds after which a running service counts as steady, so its pauses start over.
STEADY_AFTER = 20
# Seconds between two looks at the queue of a service that runs on demand, and until it ends after its last task.
CHECK_INTERVAL, IDLE_TIMEOUT = 0.5, 60
# kombu would try to connect to a broker for six seconds.
NO_RETRIES = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
# Seconds between two looks at the size of the logs.
ROTATION_INTERVAL = 5
# Connections that may wait in the kernel.
BACKLOG = 1024
# The environment variable with the file descriptor from which services read the status of all services.
STATUS_FD = "KEYWELL_STATUS_FD"


class ServiceError(Exception):
    """A service didn't start or keeps exiting. The message is for the person at the terminal."""


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until the end of the block: Python can lose a KeyboardInterrupt while it forks."""
    signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)


def die_with_parent(stop_signal: int) -> Callable[[], None]:
    """For `preexec_fn`: send the new process the signal when this one ends, even by kill -9.

    It is sent when the *thread* that started the process ends, so start it from the main thread.
    """
    parent = os.getpid()

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)
        if hasattr(LIBC, "prctl"):
            LIBC.prctl(PR_SET_PDEATHSIG, int(stop_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def limit_arenas() -> None:
    """Give all threads of this process and its forks two pools of memory (glibc), instead of eight per core."""
    if hasattr(LIBC, "mallopt"):
        LIBC.mallopt(M_ARENA_MAX, 2)


class Service:
    """A program that runs until it is stopped, with its own log file and process group."""

    # True: it runs only while `is_wanted`, and nothing waits for its start.
    on_demand = False
    # What it does without until another server answers. Nothing waits for that longer than NOTICE_AFTER.
    missing: str | None = None

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        *,
        stop_signal: int = signal.SIGTERM,
        timeout: float = 10,
    ) -> None:
        self.name = name
        self.command = command
        self.log = log
        self.stop_signal = stop_signal
        self.timeout = timeout
        self.pass_fds: Sequence[int] = ()
        self.environment: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | Fork | None = None
        self._log_start = 0

    def start(self) -> None:
        with self._open_log() as log, uninterrupted():
            self._log_start = log.tell() if log.seekable() else 0
            self.process = self._launch(log)

    def _launch(self, log: IO[bytes]) -> "subprocess.Popen[bytes] | Fork":
        return subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=self.pass_fds,
            env=os.environ | self.environment,
            preexec_fn=die_with_parent(self.stop_signal),
        )

    def _open_log(self) -> IO[bytes]:
        # A full disk must not stop it from running.
        try:
            return self.log.open("ab")
        except OSError:
            return Path(os.devnull).open("ab")

    def problem(self) -> str | None:
        """Return what keeps it from serving; None once it serves."""
        return None

    def is_ready(self, deadline: float) -> bool:
        """Return whether it serves. Raises ServiceError if it has exited or doesn't serve by the deadline."""
        problem = self.problem()
        if problem is None:
            return True
        if self.exit_status() is not None:
            raise ServiceError(f"{self.name} did not start. {self.story()}")
        if time.monotonic() > deadline:
            raise ServiceError(f"{self.name} doesn't serve after {START_TIMEOUT} s: {problem}. {self.story()}")
        return False

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self.is_ready(deadline):
            time.sleep(0.05)

    def exit_status(self) -> int | None:
        """Return its exit status; None while it runs or if it was never started."""
        return self.process.poll() if self.process else None

    def is_wanted(self) -> bool:
        """Return whether it should be started now, if it only runs on demand. Called several times a second."""
        return False

    def ask_to_stop(self) -> None:
        if self.process:
            self.process.send_signal(self.stop_signal)

    def stop(self) -> None:
        """Ask it to end, and kill it if it doesn't. No process of its group remains."""
        self.ask_to_stop()
        self.wait_or_kill(self.timeout)

    def wait_or_kill(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for it to end, then kill what remains of its process group."""
        if self.process is None:
            return
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill what remains of its process group immediately."""
        if self.process is None:
            return
        # A fork may not have its process group yet.
        self.process.send_signal(signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def story(self) -> str:
        """Return the last lines it logged since its last start."""
        with self.log.open(errors="replace") as log:
            # Unless it was rotated since.
            log.seek(self._log_start if self._log_start <= self.log.stat().st_size else 0)
            return f"{self.log} ends with:\n{''.join(log.readlines()[-12:]).rstrip()}"


class Fork:
    """Runs a function in a fork of this process, with the interface of Popen."""

    def __init__(self, run: Callable[[], None]) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                run()
                status = 0
            except SystemExit as end:
                if isinstance(end.code, str):
                    print(end.code, file=sys.stderr)  # noqa: T201
                else:
                    status = end.code or 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(status)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = float("inf")) -> int:
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(0.02)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def let_go_of_files(kept: set[int]) -> None:
    """Close the other files and sockets of this fork.

    Their numbers stay occupied: an object inherited from the parent may be collected at any time and close its number,
    which must not belong to a new file.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in {int(path.name) for path in Path("/dev/fd").iterdir()} - {*kept, nothing}:
        with contextlib.suppress(OSError):  # the listing itself
            os.fstat(number)
            os.dup2(nothing, number, inheritable=False)
    os.close(nothing)


class LoadedService(Service):
    """A Python module that this process has already imported, so a fork can serve immediately.

    The imported code stays in shared memory (docs/decisions/0027-one-process-loads-django.md).
    """

    def __init__(self, name: str, module: str, arguments: Sequence[str], log: Path, *, niceness: int = 0) -> None:
        super().__init__(name, [sys.executable, "-m", module, *arguments], log)
        self.module = module
        self.arguments = arguments
        self.niceness = niceness

    def _launch(self, log: IO[bytes]) -> Fork:
        prepare = die_with_parent(self.stop_signal)
        return Fork(lambda: self._run(prepare, log))

    def _run(self, prepare: Callable[[], None], log: IO[bytes]) -> None:
        os.setsid()
        for number in INTERRUPTS:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        prepare()
        with Path(os.devnull).open("rb") as nothing:
            for place, file in enumerate([nothing, log, log]):
                os.dup2(file.fileno(), place)
        let_go_of_files({0, 1, 2, *self.pass_fds})
        sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        os.nice(self.niceness)
        os.environ.update(self.environment)
        sys.argv = [self.name, *self.arguments]
        setproctitle(" ".join(map(str, self.command)))
        runpy.run_module(self.module, run_name="__main__", alter_sys=True)


class WebProcesses(LoadedService):
    """The web server. Its socket is already listening, so clients wait during a restart instead of being refused."""

    def __init__(self, log: Path, listener: socket.socket, base_url: str, processes: str) -> None:
        arguments = ["--processes", processes, "--socket", str(listener.fileno())]
        super().__init__("web", "runtime.web", arguments, log)
        self.pass_fds = [listener.fileno()]
        self.listener = listener
        self.host, self.port = listener.getsockname()[:2]
        # Use the public host name, since the answer may depend on it.
        self.headers = {"Host": urlsplit(base_url).netloc, "X-Forwarded-Proto": urlsplit(base_url).scheme}

    def start(self) -> None:
        # When the web server stops, it shuts the socket down for this process too.
        self.listener.listen(BACKLOG)
        super().start()

    def problem(self) -> str | None:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            connection.request("GET", "/readyz", headers=self.headers)
            response = connection.getresponse()
            answer = response.read(500).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return str(error)
        finally:
            connection.close()
        return None if response.status == 200 else f"/readyz answers {response.status} {answer}"


class WorkerService(LoadedService):
    def __init__(self, name: str, arguments: Sequence[str], log: Path, broker_url: str, **options: int) -> None:
        self.node = f"{name}@{socket.gethostname()}"
        super().__init__(name, "celery", [*arguments, "--hostname", self.node], log, **options)
        self.broker_url = broker_url

    def problem(self) -> str | None:
        # It answers once it accepts tasks.
        with Celery(broker=self.broker_url, set_as_current=False, broker_transport_options=NO_RETRIES) as app:
            self.missing = None
            try:
                answers = app.control.ping(destination=[self.node], timeout=0.3, limit=1)
            except OperationalError as error:
                self.missing = f"the broker (BROKER_URL) doesn't answer: {error}"
                return self.missing
            finally:
                # Close the connections so that forks don't share them.
                kombu.pools.reset()
        return None if answers else "it doesn't answer yet"


class OnDemandWorker(WorkerService):
    """A worker with low CPU priority that runs while its queue has tasks, and for a while after that.

    Its memory is free the rest of the time. Asked to stop, it finishes its task first, however long that takes.
    """

    on_demand = True

    def __init__(self, name: str, arguments: Sequence[str], log: Path, broker_url: str, *, niceness: int) -> None:
        super().__init__(name, [*arguments, "--queues", name], log, broker_url, niceness=niceness)
        self.is_leaving = False
        self.next_check_at = self.busy_until = 0.0

    def start(self) -> None:
        self.is_leaving = False
        self.busy_until = time.monotonic() + IDLE_TIMEOUT
        super().start()

    def exit_status(self) -> int | None:
        status = super().exit_status()
        if status is not None and self.is_leaving:
            self.kill()
            self.process, status = None, None
        return status

    def is_wanted(self) -> bool:
        now = time.monotonic()
        if now < self.next_check_at:
            return False
        self.next_check_at = now + CHECK_INTERVAL
        if self._has_tasks():
            self.busy_until = now + IDLE_TIMEOUT
            return self.process is None
        if self.process and not self.is_leaving and self.busy_until < now:
            self.is_leaving = True
            self.ask_to_stop()
        return False

    def _has_tasks(self) -> bool:
        url = self.broker_url.replace("redis+socket://", "unix://")
        try:
            with Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5) as valkey:
                return bool(valkey.llen(self.name))
        except RedisError:
            # The broker is down. Don't let its timeouts delay the care for other services.
            self.next_check_at += 10 * CHECK_INTERVAL
            return False


class Supervisor:
    """Starts services, restarts those that exit, and stops all of them at the end of its block.

    Services started by one call of `start` stop together, the last call's first.
    """

    def __init__(self, lock: int, say: Callable[[str], None], rotation: LogRotation | None = None) -> None:
        """The services inherit the handle of the lock, so it is free after the last of their processes has ended."""
        self.rotation = rotation or LogRotation()
        self.next_rotation_at = 0.0
        self.lock = lock
        self.say = say
        self.tiers: list[Sequence[Service]] = []
        self.restarts: dict[Service, Restart] = {}
        # In memory, since it matters most when the disk is full.
        self.status = os.memfd_create("keywell-status")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        is_patient = True
        for tier in reversed(self.tiers):
            for service in tier:
                service.ask_to_stop()
            asked_at = time.monotonic()
            for service in tier:
                timeout = service.timeout if is_patient else 1
                try:
                    service.wait_or_kill(max(0, asked_at + timeout - time.monotonic()))
                except KeyboardInterrupt:
                    # A second Ctrl-C: don't wait for running work. The service was already killed.
                    is_patient = False

    def start(self, *services: Service, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Start services at the same time, call `meanwhile`, and return when all are ready."""
        self.tiers.append(services)
        started_at = time.monotonic()
        for service in services:
            service.pass_fds = [*service.pass_fds, self.lock, self.status]
            service.environment = {STATUS_FD: str(self.status)}
            if not service.on_demand:
                service.start()
        meanwhile()
        waiting = [service for service in services if not service.on_demand]
        while waiting:
            elapsed = time.monotonic() - started_at
            for service in list(waiting):
                if service.is_ready(started_at + START_TIMEOUT):
                    waiting.remove(service)
                    self.say(f"  {service.name} is ready after {elapsed:.1f} s")
                elif service.missing and elapsed > NOTICE_AFTER:
                    waiting.remove(service)
                    self.say(f"  {service.name} waits: {service.missing}")
            time.sleep(0.05)

    def look_after(self) -> None:
        """Restart services that have exited, each after its own pause. Call it several times a second."""
        self._rotate_logs()
        for tier in self.tiers:
            for service in tier:
                self._look_after(service)

    def _rotate_logs(self) -> None:
        if self.next_rotation_at <= time.monotonic():
            self.next_rotation_at = time.monotonic() + ROTATION_INTERVAL
            for tier in self.tiers:
                for service in tier:
                    self.rotation.rotate(service.log)

    def _look_after(self, service: Service) -> None:
        restart = self.restarts.get(service)
        if restart and restart.is_pending:
            if restart.due_at <= time.monotonic():
                self._restart(service, restart)
            return
        status = service.exit_status()
        if status is None:
            if restart and restart.due_at + STEADY_AFTER <= time.monotonic():
                del self.restarts[service]
                self._publish_status()
            if service.is_wanted():
                self._restart(service, self.restarts.get(service) or Restart())
            return
        cause = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        self._schedule(service, cause)

    def _schedule(self, service: Service, cause: str) -> None:
        restart = self.restarts.setdefault(service, Restart())
        restart.schedule()
        self.say(f"{service.name} ended ({cause}); restarting it in {restart.pause:g} s")
        service.kill()  # remaining processes, such as a worker's children
        self._publish_status()

    def _restart(self, service: Service, restart: "Restart") -> None:
        try:
            service.start()
        except (OSError, ServiceError) as error:
            self._schedule(service, str(error))
            return
        restart.is_pending = False
        self._publish_status()

    def _publish_status(self) -> None:
        """Publish to /healthz which services are down or keep exiting."""
        failing = [
            service.name for service, restart in self.restarts.items() if restart.is_pending or restart.count > 1
        ]
        # One write of constant length, so no reader sees half of it.
        os.pwrite(self.status, json.dumps(failing).encode().ljust(4096), 0)


class Restart:
    """How often a service has exited recently, and when it restarts."""

    count = 0
    is_pending = False
    due_at = 0.0

    @property
    def pause(self) -> float:
        return PAUSES[min(self.count, len(PAUSES)) - 1]

    def schedule(self) -> None:
        self.count += 1
        self.is_pending = True
        self.due_at = time.monotonic() + self.pause


def failing_services() -> list[str]:
    """Return the names of services that are down or keep exiting; empty without a supervisor."""
    if STATUS_FD not in os.environ:
        return []
    return read_status(int(os.environ[STATUS_FD]))


def read_status(status: int) -> list[str]:
    failing: list[str] = json.loads(os.pread(status, 4096, 0) or "[]")
    return failing
