"""Kills PostgreSQL and Valkey while payments are reported; a standby and a replica take over.

    .venv/bin/python -m faults.failover                     # asynchronous replication
    .venv/bin/python -m faults.failover --synchronous       # payments wait for the standby (remote_apply)
    .venv/bin/python -m faults.failover --lag               # the standby receives nothing in the last second

The replica of Valkey is empty when it takes over: whatever was queued is lost, and the sweep has to find it.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psycopg
import requests

from runtime.embedded import EmbeddedServer, Postgres, Valkey, find_postgres
from runtime.tests.groups import Cluster, Group, Shop, cluster
from runtime.tests.installation import TIMEOUT, descendants, wait_until

SYNCHRONOUS = ("synchronous_standby_names = '*'", "synchronous_commit = 'remote_apply'")
LAG_SECONDS = 1
NUMBERS = "SELECT number FROM orders_order WHERE number LIKE 'F%'"


class Servers:
    """A primary and a standby of PostgreSQL, and the replica of Valkey."""

    def __init__(self, shared: Cluster, *, synchronous: bool, lag: bool) -> None:
        self.shared, self.lag = shared, lag
        folder = shared.folder / "second"
        (folder / "log").mkdir(parents=True)
        # Not durable would mean that PostgreSQL confirms before it writes.
        shared.servers[0].stop()
        self.primary, self.standby = Postgres(shared.folder), Postgres(folder)
        shared.servers[0] = self.primary
        self.valkey, self.replica = Valkey(shared.folder, durable=False), Valkey(folder, durable=False)
        self._start(self.primary)
        self._copy()
        self._start(self.standby)
        self._start(self.replica)
        if synchronous:
            for setting in SYNCHRONOUS:
                self.ask(self.primary, f"ALTER SYSTEM SET {setting}")
            self.ask(self.primary, "SELECT pg_reload_conf()")
        sockets = f"{self.primary.sockets},{self.standby.sockets}"
        shared.settings["DATABASE_URL"] = (
            f"postgresql://keywell@:5432/keywell?host={sockets}&target_session_attrs=read-write"
        )

    @staticmethod
    def _start(server: EmbeddedServer) -> None:
        server.start()
        server.wait_until_ready()

    def _copy(self) -> None:
        programs, guise = find_postgres()
        self.standby.data.mkdir(mode=0o700)
        guise.own(self.standby.data)
        command: list[str | Path] = [
            programs / "pg_basebackup",
            f"--host={self.primary.sockets}",
            "--username=keywell",
        ]
        command += [f"--pgdata={self.standby.data}", "--write-recovery-conf", "--checkpoint=fast"]
        subprocess.run([*guise.prefix, *command], check=True, timeout=TIMEOUT, capture_output=True)

    @staticmethod
    def ask(server: Postgres, statement: str) -> list[tuple]:
        with psycopg.connect(server.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def fail_over_database(self) -> None:
        receivers: list[int] = []
        if self.lag:
            receivers = [row[0] for row in self.ask(self.standby, "SELECT pid FROM pg_stat_wal_receiver")]
            kill(receivers, signal.SIGSTOP)
            time.sleep(LAG_SECONDS)
        kill_all(self.primary)
        # It ends before it reads what the primary sent meanwhile.
        kill(receivers, signal.SIGTERM)
        kill(receivers, signal.SIGCONT)
        self.ask(self.standby, "SELECT pg_promote()")

    def fail_over_broker(self) -> None:
        kill_all(self.shared.servers[1])
        # As an address that moves to the other machine.
        self.replica.socket.replace(self.valkey.socket)

    def stop(self) -> None:
        for server in (self.standby, self.replica):
            server.stop()


class RecordingShop(Shop):
    """A shop that keeps the codes in the answers, as its thank-you page shows them."""

    def __init__(self, shared: Cluster, groups: list[Group]) -> None:
        super().__init__(shared, groups)
        self.accepted: set[str] = set()
        self.codes: dict[str, str] = {}
        self.accepted_at: list[float] = []

    def _report(self, port: int, payment: dict) -> int:
        session = self.local.__dict__.setdefault("session", requests.Session())
        headers = self.headers | {"Host": "localhost"}
        url = f"http://127.0.0.1:{port}/api/v1/payments/"
        try:
            answer = session.post(url, json=payment, headers=headers, timeout=TIMEOUT)
        except requests.RequestException:
            return 0
        if answer.ok:
            self.accepted.add(payment["order"])
            # None if a fault interrupted it; a worker adds the code.
            for code in answer.json()["items"][0]["activation_codes"]:
                self.codes.setdefault(payment["order"], code["code"])
            self.accepted_at.append(time.monotonic())
        return answer.status_code


def kill(pids: list[int], number: int) -> None:
    for pid in pids:
        os.kill(pid, number)


def kill_all(server: EmbeddedServer) -> None:
    """Kill all of its processes at once, as when a machine loses its power."""
    assert server.process
    pids = [server.process.pid, *descendants(server.process.pid)]
    kill(pids, signal.SIGSTOP)
    kill(pids, signal.SIGKILL)
    server.process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m faults.failover", description=__doc__.splitlines()[0])
    parser.add_argument("--payments", type=int, default=1000, metavar="N")
    parser.add_argument("--synchronous", action="store_true", help="each payment waits for the standby")
    parser.add_argument("--lag", action="store_true", help="the standby receives nothing in the last second")
    options = parser.parse_args()
    with cluster() as shared:
        servers = Servers(shared, synchronous=options.synchronous, lag=options.lag)
        groups = [Group(shared, "a"), Group(shared, "b")]
        try:
            shared.fill(options.payments * 2)
            for group in groups:
                group.start()
            return fail_over(servers, groups, options)
        finally:
            for group in groups:
                group.stop()
            servers.stop()


def fail_over(servers: Servers, groups: list[Group], options: argparse.Namespace) -> int:
    shared, shop = servers.shared, RecordingShop(servers.shared, groups)
    acts = {options.payments // 4: [servers.fail_over_broker], options.payments // 2: [servers.fail_over_database]}
    shop.pay_all("F", options.payments, then=acts)
    gaps = [later - earlier for earlier, later in zip(shop.accepted_at, shop.accepted_at[1:], strict=False)]

    saved = {number for (number,) in servers.ask(servers.standby, NUMBERS)}
    lost = shop.accepted - saved
    twice = sum(count - 1 for count in Counter(shop.codes.values()).values())
    started = time.monotonic()
    wait_until(lambda: saved <= set(shared.mailed()))
    mailed = time.monotonic() - started
    shared.manage("audit", "--texts")
    print(
        f"{options.payments} payments, {'synchronous' if options.synchronous else 'asynchronous'}"
        f"{', with a lag' if options.lag else ''}: no payment was accepted for {max(gaps):.1f} s;"
        f" {shop.statuses[503]} answers 503, {shop.statuses[0]} broken connections;"
        f" {len(lost)} accepted payments lost,"
        f" {twice} codes shown to two customers; the last e-mail left {mailed:.0f} s after the last payment;"
        " the audit is clean"
    )
    return 1 if options.synchronous and (lost or twice) else 0


if __name__ == "__main__":
    sys.exit(main())
