"""Backups: a folder with a dump of the database and a manifest that says what is needed to restore it.

The database is the only state: queues are rows. Secrets are kept apart (runtime/kept_secrets.py).
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from django.apps import apps
from django.db.migrations.loader import MigrationLoader
from psycopg.conninfo import conninfo_to_dict

from runtime.embedded import find_postgres
from runtime.models import Backup
from vault.ciphers import KEY_ID_LENGTH, all_key_ids, key_ids
from vault.fields import EncryptedField
from version import version

FORMAT = 1
MANIFEST, DUMP = "manifest.json", "database.dump"
# The name of a backup's folder: when it was made, in UTC.
NAME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{6}Z")
# Environment variables in which libpq takes parameters of a connection: a command line would show the password.
VARIABLES = {"dbname": "PGDATABASE", "sslrootcert": "PGSSLROOTCERT", "passfile": "PGPASSFILE"}
# Rows that the manifest counts, so that people recognize a backup.
COUNTED = ["merchants.Merchant", "orders.Order", "orders.ActivationCode", "pools.LicenseKey"]


class BackupError(Exception):
    """The message is for the operator."""


def back_up(folder: Path) -> Path:
    """Write a backup of the running installation into a new folder inside `folder`; return its path.

    It is consistent: dump, counts and key ids come from one snapshot. The manifest is written last, so an interrupted
    backup has none. Raises BackupError.
    """
    made_at = datetime.now(UTC)
    path = folder / made_at.strftime("%Y-%m-%dT%H%M%SZ")
    path.mkdir(mode=0o700, parents=True)
    try:
        with _snapshot() as (connection, snapshot):
            _dump(path / DUMP, snapshot)
            digest, size = _digest(path / DUMP)
            manifest = {
                "format": FORMAT,
                "keywell": version(),
                "made_at": made_at.isoformat(timespec="seconds"),
                "postgresql": _one(connection, "SHOW server_version"),
                "migrations": _migrations(connection),
                "vault_keys": sorted(_keys_in_use(connection)),
                "rows": {name: _one(connection, _count(name)) for name in COUNTED},
                "dump": {"sha256": digest, "bytes": size},
            }
        (path / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        Backup.objects.create(made_at=made_at, path=str(path), size=size)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    return path


def remove_old(folder: Path, keep: int) -> list[Path]:
    """Delete all but the newest complete backups in a folder; return the deleted ones. Touches nothing else there."""
    folders = [path for path in folder.iterdir() if NAME.fullmatch(path.name) and not path.is_symlink()]
    old = sorted(path for path in folders if (path / MANIFEST).is_file())[:-keep]
    for path in old:
        shutil.rmtree(path)
    return old


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a backup that this installation can restore. Raises BackupError otherwise."""
    try:
        manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text())
        recorded = manifest["dump"]
        needed, applied = manifest["vault_keys"], {tuple(name) for name in manifest["migrations"]}
    except OSError as error:
        raise BackupError(f"{path} is no complete backup: {error.strerror}: {MANIFEST}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{path / MANIFEST} is damaged.") from error
    if manifest.get("format") != FORMAT or unknown_migrations(applied):
        made_by = manifest.get("keywell")
        raise BackupError(
            f"Keywell {made_by} made this backup. This is {version()}: install that version or a later one."
        )
    known = {key_id.hex() for key_id in all_key_ids()}
    if missing := [key_id for key_id in needed if key_id not in known]:
        raise BackupError(
            f"VAULT_KEYS doesn’t contain the key {', '.join(missing)}, which encrypted codes in this backup, but"
            f" {', '.join(key_id.hex() for key_id in key_ids())}. Set VAULT_KEYS to the keys of that time."
        )
    try:
        is_intact = _digest(path / DUMP) == (recorded["sha256"], recorded["bytes"])
    except OSError as error:
        raise BackupError(f"Cannot read {path / DUMP}: {error.strerror}.") from error
    except (KeyError, TypeError) as error:
        raise BackupError(f"{path / MANIFEST} is damaged.") from error
    if not is_intact:
        raise BackupError(f"{path / DUMP} is damaged: it differs from its manifest.")
    return manifest


def restore(path: Path, *, replace: bool) -> dict[str, Any]:
    """Restore a backup into the database and return its manifest. All or nothing. Raises BackupError.

    Everything is checked before anything is written. Without `replace`, the database must be empty.
    """
    manifest = read_manifest(path)
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        _refuse_pooler(connection)
        others = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        if count := _one(connection, f"SELECT count(*) FROM pg_stat_activity WHERE {others}"):  # noqa: S608
            raise BackupError(f"Stop Keywell first: {count} connections use the database.")
        if not replace and _one(connection, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"):
            raise BackupError("The database isn’t empty. To replace all of its data, add --replace.")
    _load(path / DUMP)
    return manifest


def unknown_migrations(applied: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Return the migrations that this version of Keywell doesn't have."""
    return applied - set(MigrationLoader(None).disk_migrations)


@contextmanager
def _snapshot() -> Iterator[tuple[psycopg.Connection, str]]:
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        _refuse_pooler(connection)
        connection.rollback()
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        yield connection, _one(connection, "SELECT pg_export_snapshot()")


def _refuse_pooler(connection: psycopg.Connection) -> None:
    """pg_dump and psql change settings of their session, which a pooler would pass on to other clients."""
    # A pooler invents the process id that it names to its clients.
    if connection.info.backend_pid != _one(connection, "SELECT pg_backend_pid()"):
        raise BackupError("DATABASE_URL names a connection pooler. This command needs the address of PostgreSQL.")


def _one(connection: psycopg.Connection, statement: str) -> Any:
    row = connection.execute(statement.encode()).fetchone()
    return row[0] if row else None


def _count(model: str) -> str:
    return f"SELECT count(*) FROM {apps.get_model(model)._meta.db_table}"  # noqa: S608 (one of COUNTED)


def _migrations(connection: psycopg.Connection) -> list[list[str]]:
    return [list(row) for row in connection.execute("SELECT app, name FROM django_migrations ORDER BY id")]


def _keys_in_use(connection: psycopg.Connection) -> set[str]:
    found: set[str] = set()
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, EncryptedField):
                key = f"substring({field.column} FROM 1 FOR {KEY_ID_LENGTH})"
                rows = connection.execute(f"SELECT DISTINCT {key} FROM {model._meta.db_table}".encode())  # noqa: S608
                found |= {bytes(row[0]).hex() for row in rows if row[0]}
    return found


def _program(name: str) -> tuple[Path, dict[str, str]]:
    """Return one of PostgreSQL's programs, and the environment in which it uses our database."""
    given = conninfo_to_dict(os.environ["DATABASE_URL"])
    connection = {VARIABLES.get(name, f"PG{name.upper()}"): str(value) for name, value in given.items()}
    return find_postgres()[0] / name, os.environ | connection


def _dump(path: Path, snapshot: str) -> None:
    program, environment = _program("pg_dump")
    options = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", f"--file={path}"]
    _check(subprocess.run([program, *options], env=environment, capture_output=True))


def _load(path: Path) -> None:
    """Replace the content of the database in one transaction."""
    program, environment = _program("pg_restore")
    command: list[str | Path] = [program, "--no-owner", "--no-privileges", "--file=-", path]
    psql: list[str | Path] = [
        program.with_name("psql"),
        "--quiet",
        "--no-psqlrc",
        "--set=ON_ERROR_STOP=1",
        "--single-transaction",
    ]
    psql += ["--command=DROP SCHEMA public CASCADE; CREATE SCHEMA public", "--file=-"]
    with tempfile.TemporaryFile() as errors:
        loader = subprocess.Popen(
            psql, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors
        )
        script = subprocess.run(command, env=environment, stdout=loader.stdin, stderr=subprocess.DEVNULL)
        if script.returncode and not _ends(loader):
            # At the end of its input it would commit what it has.
            loader.kill()
            loader.wait()
            raise BackupError(f"{path} can’t be read: pg_restore ended with {script.returncode}. Nothing was changed.")
        loader.communicate()
        errors.seek(0)
        _check(subprocess.CompletedProcess(psql, loader.returncode, stderr=errors.read()))


def _ends(process: subprocess.Popen[bytes]) -> bool:
    """Return whether a process ends alone, although its input is still open."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
    return process.returncode is not None


def _check(result: subprocess.CompletedProcess[bytes]) -> None:
    if result.returncode:
        lines = result.stderr.decode(errors="replace").splitlines()
        reason = next((line for line in lines if "error" in line.lower()), "it gave no reason")
        raise BackupError(f"{Path(result.args[0]).name} failed: {reason}")


def _digest(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
