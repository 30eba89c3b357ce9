"""PgBouncer in transaction mode in front of the embedded PostgreSQL, for tests."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from runtime.embedded import EmbeddedServer, Postgres, answers_postgres, find_postgres
from runtime.supervisor import ServiceError

PORT, SERVER_PORT = 6432, 5432
# Each transaction goes to another of several connections, so that whatever needs a session fails.
SETTINGS = """\
[databases]
* = host={sockets} port={server_port}

[pgbouncer]
listen_port = {port}
unix_socket_dir = {sockets}
unix_socket_mode = 0700
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = 30
min_pool_size = 3
server_round_robin = 1
max_client_conn = 1000
log_connections = 0
log_disconnections = 0
"""


class PgBouncer(EmbeddedServer):
    setting = "DATABASE_URL"

    def __init__(self, postgres: Postgres, folder: Path) -> None:
        super().__init__("pgbouncer", [], folder / "log/pgbouncer.log")
        self.sockets = postgres.sockets
        self.url = postgres.url.replace(f":{SERVER_PORT}/", f":{PORT}/")
        self.program = find_pgbouncer()
        version = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True).stdout
        major, minor = re.findall(r"\d+", version)[:2]
        self.keeps_statements = (int(major), int(minor)) >= (1, 21)

    @property
    def settings(self) -> dict[str, str]:
        """The settings of Keywell behind it."""
        return {self.setting: self.url, "PREPARED_STATEMENTS": "on" if self.keeps_statements else "off"}

    def start(self) -> None:
        users, settings = self.sockets / "users.txt", self.sockets / "pgbouncer.ini"
        users.write_text('"keywell" ""\n')
        text = SETTINGS.format(sockets=self.sockets, users=users, port=PORT, server_port=SERVER_PORT)
        settings.write_text(text + ("max_prepared_statements = 200\n" if self.keeps_statements else ""))
        # It refuses to run as root, as PostgreSQL does.
        _, guise = find_postgres()
        self.command = [*guise.prefix, self.program, settings]
        super().start()

    def answers(self) -> bool:
        return answers_postgres(self.sockets / f".s.PGSQL.{PORT}")


def find_pgbouncer() -> str:
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if not program:
        raise ServiceError("Can't find pgbouncer. On Debian: apt-get install pgbouncer")
    return program


def direct_url() -> str:
    """Return the address of the database without the pooler, if there is one."""
    return re.sub(rf":{PORT}/", f":{SERVER_PORT}/", os.environ["DATABASE_URL"])
