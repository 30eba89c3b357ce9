"""Backups: what they contain, what they refuse, and that everything comes back after the loss of a machine."""

import json
import os
import shutil
import subprocess
from base64 import b64encode
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from django.test import override_settings

from runtime import backups
from runtime.backups import DUMP, MANIFEST, BackupError, read_manifest, remove_old
from runtime.kept_secrets import SecretsError, keep_secrets, read_secrets
from runtime.tests.installation import Keywell

OTHER_KEY = b64encode(bytes(32)).decode()


@pytest.fixture(scope="module")
def lost(tmp_path_factory):
    """A demo with orders, backed up while it runs and then deleted with its secrets."""
    folder = tmp_path_factory.mktemp("lost")
    keywell = Keywell(folder / "var")
    keywell.start()
    try:
        for number in range(5):
            status, _ = keywell.report_payment(order=f"B-{number}")
            assert status == 201
        (folder / "passphrase").write_text("correct horse battery staple\n")
        options = ["--secrets", str(folder / "secrets"), "--passphrase-file", str(folder / "passphrase")]
        made = keywell.run("manage", "backup", str(folder / "backups"), *options)
        assert made.returncode == 0, made.stderr
    finally:
        keywell.stop()
    shutil.rmtree(keywell.var)
    return folder


@pytest.fixture
def backup(lost, tmp_path):
    """A copy of the backup, to damage."""
    [path] = (lost / "backups").iterdir()
    return Path(shutil.copytree(path, tmp_path / "backup"))


def restored(keywell: Keywell, lost: Path, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    [path] = (lost / "backups").iterdir()
    return keywell.run("manage", "restore", str(path), *options, **settings)


def read_kept(keywell: Keywell, lost: Path) -> dict[str, str]:
    passphrase = ["--passphrase-file", str(lost / "passphrase")]
    printed = keywell.run("secrets", str(lost / "secrets"), *passphrase)
    assert printed.returncode == 0, printed.stderr
    return dict(line.split("=", 1) for line in printed.stdout.splitlines())


@pytest.mark.installation
def test_everything_comes_back_from_the_backup_and_the_secrets(lost, tmp_path):
    keywell = Keywell(tmp_path / "new")
    settings = read_kept(keywell, lost) | {"EMAIL_URL": f"filemail://{tmp_path}/mail"}

    other = restored(keywell, lost, **settings | {"VAULT_KEYS": OTHER_KEY})
    assert other.returncode == 1
    [path] = (lost / "backups").iterdir()
    [key_id] = json.loads((path / MANIFEST).read_text())["vault_keys"]
    assert f"VAULT_KEYS doesn’t contain the key {key_id}" in other.stderr

    first = restored(keywell, lost, **settings)
    assert first.returncode == 0, first.stderr
    assert "6 orders" in first.stdout  # and the demo's own

    audit = keywell.run("manage", "audit", "--texts", **settings)
    assert audit.returncode == 0, audit.stdout
    again = restored(keywell, lost, **settings)
    assert again.returncode == 1
    assert "The database isn’t empty" in again.stderr
    assert restored(keywell, lost, "--replace", **settings).returncode == 0

    keywell.start(**settings)
    try:
        running = restored(keywell, lost, "--replace", **settings)
        assert "Stop Keywell first" in running.stderr
    finally:
        keywell.stop()


@pytest.mark.installation
def test_a_backup_with_data_from_a_newer_version_is_refused(backup):
    change(backup, migrations=[["orders", "0999_from_the_future"]])

    with pytest.raises(BackupError, match="made this backup. .* or a later one"):
        read_manifest(backup)


@pytest.mark.installation
def test_a_damaged_dump_is_refused(backup, monkeypatch):
    change(backup, vault_keys=[])
    with (backup / DUMP).open("r+b") as file:
        file.seek(1000)
        file.write(b"damaged")

    with pytest.raises(BackupError, match="differs from its manifest"):
        read_manifest(backup)


@pytest.mark.installation
@pytest.mark.parametrize("manifest", ["", "{", "[]", '{"format": 1}'])
def test_a_damaged_manifest_is_refused(backup, manifest):
    (backup / MANIFEST).write_text(manifest)

    with pytest.raises(BackupError, match="damaged"):
        read_manifest(backup)


def test_a_folder_without_a_manifest_is_no_backup(tmp_path):
    with pytest.raises(BackupError, match="no complete backup"):
        read_manifest(tmp_path)


@pytest.mark.installation
def test_a_backup_is_private_and_holds_no_secrets(lost):
    [path] = (lost / "backups").iterdir()

    assert path.stat().st_mode & 0o77 == 0
    assert (lost / "secrets").stat().st_mode & 0o77 == 0
    assert "VAULT_KEYS" not in (lost / "secrets").read_text()  # it is encrypted


@override_settings(VAULT_KEYS=[OTHER_KEY])
@pytest.mark.installation
def test_each_missing_key_is_named(backup):
    change(backup, vault_keys=["0badcafe", "12345678"])

    with pytest.raises(BackupError, match="doesn’t contain the key 0badcafe, 12345678, which"):
        read_manifest(backup)


def change(backup: Path, **changes) -> None:
    manifest = json.loads((backup / MANIFEST).read_text())
    (backup / MANIFEST).write_text(json.dumps(manifest | changes))


def test_only_old_complete_backups_are_deleted(tmp_path):
    for day in range(1, 6):
        (tmp_path / f"2026-11-0{day}T030000Z").mkdir()
        if day != 5:
            (tmp_path / f"2026-11-0{day}T030000Z" / MANIFEST).touch()

    assert [path.name[:10] for path in remove_old(tmp_path, 2)] == ["2026-11-01", "2026-11-02"]
    assert len(list(tmp_path.iterdir())) == 3


def test_what_else_is_beside_the_backups_stays(tmp_path):
    """Many programs have a manifest.json. A link to the newest backup is none itself."""
    others = [tmp_path / name for name in ("application", "2025-01-01", "2026-11-01T030000Z")]
    for path in others:
        path.mkdir()
        (path / MANIFEST).touch()
    (tmp_path / "2026-12-01T030000Z").symlink_to(others[-1])

    assert remove_old(tmp_path, 1) == []
    assert all(path.exists() for path in others)


def test_a_missing_dump_is_named(tmp_path, settings):
    manifest = {"format": 1, "keywell": "1", "migrations": [], "vault_keys": [], "dump": {"sha256": "", "bytes": 0}}
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))

    with pytest.raises(BackupError, match=f"Cannot read {tmp_path}/{DUMP}: No such file"):
        read_manifest(tmp_path)


@pytest.fixture
def database(monkeypatch):
    """A database of its own with a table."""
    given = urlsplit(os.environ["DATABASE_URL"])
    with psycopg.connect(given.geturl(), autocommit=True) as server:
        server.execute("CREATE DATABASE restoring")
        url = given._replace(path="/restoring").geturl()
        monkeypatch.setenv("DATABASE_URL", url)
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept ()")
        yield url
        server.execute("DROP DATABASE restoring WITH (FORCE)")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'CREATE TABLE half ();'; kill -9 $$", "Nothing was changed"),
        ("echo 'CREATE TABLE half ();'; echo 'nonsense;'", "psql failed: .*nonsense"),
    ],
)
def test_a_restore_that_breaks_off_changes_nothing(database, tmp_path, monkeypatch, script, said):
    program = tmp_path / "pg_restore"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    psql, environment = backups._program("psql")
    (tmp_path / "psql").symlink_to(psql)
    monkeypatch.setattr(backups, "_program", lambda _: (program, environment))

    with pytest.raises(BackupError, match=said):
        backups._load(tmp_path / DUMP)
    with psycopg.connect(database) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert tables == [("kept",)]


@pytest.mark.parametrize("passphrase", ["", "correct horse"])
def test_secrets_can_be_read_again(tmp_path, passphrase):
    keep_secrets(tmp_path / "secrets", passphrase)

    assert "VAULT_KEYS=" in read_secrets(tmp_path / "secrets", passphrase)
    with pytest.raises(SecretsError, match="exists already"):
        keep_secrets(tmp_path / "secrets", passphrase)


@pytest.mark.parametrize(("passphrase", "said"), [("", "--passphrase-file"), ("wrong", "The passphrase is wrong")])
def test_a_wrong_passphrase_is_refused(tmp_path, passphrase, said):
    keep_secrets(tmp_path / "secrets", "correct horse")

    with pytest.raises(SecretsError, match=said):
        read_secrets(tmp_path / "secrets", passphrase)


@pytest.mark.parametrize("text", ["{", '{"salt": 1}', '{"salt": "", "nonce": "", "content": "", "scrypt": {"n": 3}}'])
def test_a_damaged_file_of_secrets_is_refused(tmp_path, text):
    (tmp_path / "secrets").write_text(text)

    with pytest.raises(SecretsError, match="damaged"):
        read_secrets(tmp_path / "secrets", "correct horse")
