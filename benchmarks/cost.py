"""Measures what a payment costs until its e-mail has left: CPU time, statements, rows, bytes, WAL, Valkey's commands.

One item from a pool, with an e-mail and without webhooks. PostgreSQL counts statements only in the last rounds.
"""

import argparse
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import psycopg
import redis

from benchmarks.harness import (
    JSON,
    Client,
    Env,
    cpu_by_service,
    encode,
    install,
    installation,
    payment,
    restart_in_production,
    send_all,
    serve,
    services_of,
    settings_of,
)
from benchmarks.results import record
from runtime.tests.installation import Keywell, wait_until
from runtime.tests.sink import Sink

CLIENTS = 16
# "floor" is the baseline's web server.
SERVICES = ("web", "worker", "callouts", "postgres", "valkey")
BASELINE = "one INSERT by a DRF view"
STATEMENTS = "statements"
WAL = "SELECT 'WAL', pg_current_wal_lsn() - '0/0'::pg_lsn"
TRANSACTIONS = "SELECT 'transactions', xact_commit FROM pg_stat_database WHERE datname = current_database()"
INSERTED = "SELECT 'rows ' || relname, n_tup_ins FROM pg_stat_user_tables"
UPDATED = "SELECT 'rows ' || relname || ' updated', n_tup_upd FROM pg_stat_user_tables"
BYTES = "SELECT 'bytes ' || relname, pg_total_relation_size(relid) FROM pg_stat_user_tables"
CALLS = "SELECT 'statements', sum(calls) FROM pg_stat_statements"
# Idle sessions of PostgreSQL report what they counted after ten seconds.
REPORTED_AFTER = 11


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__)
    parser.add_argument("--payments", type=int, default=1000, metavar="N", help="per round (1000)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    options = parser.parse_args()
    with installation() as (keywell, sink):
        env = install(keywell, sink)
        numbers = itertools.count()
        record_costs(compare(keywell, env, sink, numbers, options), options.payments)
        count_statements(keywell, sink)
        rounds = compare(keywell, env, sink, numbers, options, CALLS)
        record_one("statements per payment", rounds, lambda cost: cost[STATEMENTS], unit="statements")


def count_statements(keywell: Keywell, sink: Sink) -> None:
    with psycopg.connect(settings_of(keywell)["DATABASE_URL"], autocommit=True) as server:
        server.execute("CREATE EXTENSION pg_stat_statements")
        server.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
    keywell.stop()
    restart_in_production(keywell, sink)


def compare(
    keywell: Keywell,
    env: Env,
    sink: Sink,
    numbers: "itertools.count[int]",
    options: argparse.Namespace,
    *more: str,
) -> list[tuple[Counter[str], Counter[str]]]:
    """Return the costs of a payment and of the baseline in each round."""
    settings = settings_of(keywell)
    headers = {"Authorization": f"Bearer {env['API_KEY']}", "Content-Type": JSON}
    read = partial(read_counters, keywell, settings, *more)

    def measure(clients: list[Client], is_done: Callable[[int], bool]) -> Counter[str]:
        bodies = [payment(f"B{next(numbers)}") for _ in range(options.payments)]
        requests = [encode("/api/v1/payments/", body, headers) for body in bodies]
        before, mails = read(), len(sink.messages)
        send_all(clients, requests)
        for client in clients:
            client.close()  # the server would, before the next round
        wait_until(lambda: is_done(mails + options.payments))
        after = read()
        return Counter({name: (after[name] - before[name]) / options.payments for name in after})

    with serve(["runtime.web", "--application", "benchmarks.floors", "--address"], settings) as port:
        ours, floor = ([Client(each) for _ in range(CLIENTS)] for each in (keywell.port, port))

        def pay() -> Counter[str]:
            return measure(ours, lambda mails: len(sink.messages) >= mails)

        def insert() -> Counter[str]:
            return measure(floor, lambda mails: True)

        pay(), insert()  # load modules and prepare statements
        return [(pay(), insert()) for _ in range(options.rounds)]


def read_counters(keywell: Keywell, settings: Env, *more: str) -> Counter[str]:
    time.sleep(REPORTED_AFTER)
    counters = cpu_by_service(keywell, floor=services_of(os.getpid())["web"])
    with psycopg.connect(settings["DATABASE_URL"]) as server:
        for query in (WAL, TRANSACTIONS, INSERTED, UPDATED, BYTES, *more):
            for name, value in server.execute(query.encode()):
                counters[name] = int(value)
    broker = redis.from_url(settings["BROKER_URL"].replace("redis+socket://", "unix://"))
    counters["commands"] = broker.info("stats")["total_commands_processed"]
    return counters


def record_costs(rounds: list[tuple[Counter[str], Counter[str]]], payments: int) -> None:
    times = {f"{name} ms": round(median(1000 * ours[name] for ours, _ in rounds), 2) for name in SERVICES}
    record_one("CPU per payment and its e-mail", rounds, cpu_milliseconds, unit="ms", **times)
    record_one("WAL per payment", rounds, lambda cost: cost["WAL"], unit="bytes", payments=payments)
    record_one("transactions per payment", rounds, lambda cost: cost["transactions"], unit="transactions")
    record_one("Valkey’s commands per payment", rounds, lambda cost: cost["commands"], unit="commands")
    record_one(
        "rows inserted and updated per payment", rounds, partial(total, "rows"), unit="rows", **tables(rounds, "rows")
    )
    record_one(
        "tables and indexes per payment", rounds, partial(total, "bytes"), unit="bytes", **tables(rounds, "bytes")
    )


def record_one(
    measure: str,
    rounds: list[tuple[Counter[str], Counter[str]]],
    figure: Callable[[Counter[str]], float],
    *,
    unit: str,
    **sizes: Any,
) -> None:
    pairs = [(figure(ours), figure(floor)) for ours, floor in rounds]
    record(measure, pairs, unit=unit, baseline=BASELINE, digits=2, **sizes)


def cpu_milliseconds(cost: Counter[str]) -> float:
    return 1000 * sum(cost[name] for name in (*SERVICES, "floor"))


def total(kind: str, cost: Counter[str]) -> float:
    return sum(value for name, value in cost.items() if name.startswith(f"{kind} "))


def tables(rounds: list[tuple[Counter[str], Counter[str]]], kind: str) -> dict[str, float]:
    """Return the median of a payment for each table that it changes."""
    names = sorted(name for name in rounds[0][0] if name.startswith(f"{kind} "))
    medians = {name.partition(" ")[2]: round(median(ours[name] for ours, _ in rounds), 2) for name in names}
    return {name: value for name, value in medians.items() if value >= 0.1}


if __name__ == "__main__":
    main()
