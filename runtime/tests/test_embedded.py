"""PostgreSQL and Valkey on this machine, for real."""

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from runtime import embedded
from runtime.embedded import Postgres, Valkey, find_postgres, find_valkey, guises, socket_folder
from runtime.supervisor import ServiceError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused by PostgreSQL")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path


@pytest.fixture
def postgres(folder: Path) -> Iterator[Postgres]:
    server = Postgres(folder, durable=False)
    yield server
    server.stop()


def start(server: Postgres | Valkey) -> None:
    server.start()
    server.wait_until_ready()


def query(server: Postgres, sql: str) -> object:
    with psycopg.connect(server.url) as connection:
        row = connection.execute(sql).fetchone()
        return row[0] if row else None


def remember(server: Postgres, text: str) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE memory AS SELECT %s::text AS text", [text])


def test_it_makes_a_database_that_knows_the_letters_of_the_world(postgres):
    start(postgres)

    assert query(postgres, "SELECT current_database() || upper(' zoë, łukasz')") == "keywell ZOË, ŁUKASZ"


def test_it_cannot_be_reached_over_the_network(postgres):
    start(postgres)

    assert query(postgres, "SHOW listen_addresses") == ""


def test_it_keeps_what_was_written(postgres):
    start(postgres)
    remember(postgres, "written before")

    postgres.stop()
    start(postgres)

    assert query(postgres, "SELECT text FROM memory") == "written before"


def test_its_log_holds_nothing_of_what_could_not_be_written(postgres, folder):
    start(postgres)
    remember(postgres, "already there")

    with psycopg.connect(postgres.url) as connection, pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute("CREATE UNIQUE INDEX ON memory (text)")
        connection.execute("INSERT INTO memory SELECT text FROM memory -- for ada@example.com")

    log = (folder / "log/postgres.log").read_text()
    assert "duplicate key" in log
    assert "ada@example.com" not in log and "already there" not in log


def test_it_recovers_when_it_was_killed(folder):
    server = Postgres(folder)
    start(server)
    remember(server, "written before")

    server.kill()
    start(server)

    assert query(server, "SELECT text FROM memory") == "written before"
    server.stop()


def test_it_makes_a_database_anew_that_was_left_half_made(postgres):
    half_made = postgres.data.with_name("postgres.new")
    half_made.mkdir()
    (half_made / "PG_VERSION").write_text("18")

    start(postgres)

    assert postgres.answers()
    assert not half_made.exists()


def test_it_tells_why_it_did_not_start(postgres):
    start(postgres)
    postgres.stop()
    (postgres.data / "PG_VERSION").write_text("9.6\n")
    postgres.start()

    with pytest.raises(ServiceError, match="postgres did not start(.|\n)*FATAL"):
        postgres.wait_until_ready()


@as_root
def test_it_hands_the_data_over_when_it_has_to_run_as_someone_else(postgres, monkeypatch):
    ways = guises()
    assert len({way.uid for way in ways}) == 2

    for way in [*ways, ways[0]]:
        monkeypatch.setattr(embedded, "guises", lambda way=way: [way])
        start(postgres)
        assert query(postgres, "SELECT current_user") == "keywell"
        assert postgres.data.stat().st_uid == way.uid
        postgres.stop()


@as_root
def test_it_runs_where_only_root_may_go(folder, monkeypatch):
    private = folder / "private"
    private.mkdir(mode=0o700)
    (private / "log").mkdir()

    for way in guises():
        monkeypatch.setattr(embedded, "guises", lambda way=way: [way])
        server = Postgres(private, durable=False)
        start(server)
        server.stop()


def test_it_puts_sockets_elsewhere_when_their_path_is_too_long(folder):
    deep = folder / ("d" * 60) / ("e" * 60)
    (deep / "log").mkdir(parents=True)
    server = Valkey(deep, durable=False)

    start(server)

    assert redis.Redis(unix_socket_path=str(server.socket)).ping()
    assert len(str(server.socket)) < 100
    assert Valkey(deep).url == server.url
    server.stop()
    socket_folder(deep).rmdir()


def test_it_trusts_no_socket_folder_that_others_can_enter(folder):
    deep = folder / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    once = socket_folder(deep)
    once.chmod(0o777)

    now = socket_folder(deep)

    assert now != once
    assert now.stat().st_mode & 0o777 == 0o700
    once.rmdir()
    now.rmdir()


def test_it_keeps_queued_messages(folder):
    server = Valkey(folder)
    start(server)
    redis.Redis(unix_socket_path=str(server.socket)).lpush("queue", "message")

    server.stop()
    start(server)

    assert redis.Redis(unix_socket_path=str(server.socket)).lrange("queue", 0, -1) == [b"message"]
    server.stop()


def test_it_names_the_settings_when_no_program_runs(monkeypatch, tmp_path):
    monkeypatch.setenv("PG_BINDIR", str(tmp_path))
    monkeypatch.setenv("VALKEY_BIN", str(tmp_path / "none"))

    with pytest.raises(ServiceError, match="DATABASE_URL.*PG_BINDIR"):
        find_postgres()
    with pytest.raises(ServiceError, match="BROKER_URL.*VALKEY_BIN"):
        find_valkey()
