"""License keys coming in: all of a file or none of it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from django.db import connection, transaction

from merchants.models import Merchant
from orders.models import hint
from pools.models import KeyBatch, LicensePool
from pools.replenishment import rearm
from pools.signals import pool_refilled
from vault.ciphers import encrypt
from vault.fingerprints import fingerprint, load_key

MAX_KEY_LENGTH = 10_000
MAX_KEYS = 1_000_000
MAX_ERRORS = 100  # so many bad lines are enough to see what is wrong

LINE = re.compile(rb"([^\r\n]*)(?:\r\n|\r|\n|\Z)")


class KeyFileError(Exception):
    """A file of keys cannot be imported. `lines` maps line numbers to what is wrong there."""

    def __init__(self, message: str, lines: dict[int, str] | None = None):
        super().__init__(message)
        self.lines = lines or {}


@dataclass(frozen=True)
class ImportResult:
    batch: KeyBatch | None  # None if there was nothing new
    imported: int
    repeated: int
    already_in_pool: int
    already_in_other_pools: int


def parse_keys(content: bytes) -> list[str]:
    """Return the keys of a UTF-8 text, one a line, empty lines and surrounding blanks left out.

    Raises KeyFileError naming the lines that cannot be keys, or if there is no key at all.
    """
    keys: list[str] = []
    errors: dict[int, str] = {}
    for number, match in enumerate(LINE.finditer(content.removeprefix(b"\xef\xbb\xbf")), start=1):
        try:
            key = match[1].decode().strip()
            problem = _problem_with(key)
        except UnicodeDecodeError:
            key, problem = "", "is not UTF-8 text"
        if problem:
            errors[number] = problem
        elif key:
            keys.append(key)
        if len(errors) == MAX_ERRORS or len(keys) > MAX_KEYS:
            break
    if errors:
        raise KeyFileError("Nothing was imported: some lines are no license keys.", errors)
    if not keys:
        raise KeyFileError("Nothing was imported: there is no license key in it.")
    if len(keys) > MAX_KEYS:
        raise KeyFileError(f"Nothing was imported: there are more than {MAX_KEYS} keys.")
    return keys


def _problem_with(key: str) -> str:
    if "\0" in key:
        return "holds a NUL character"
    return f"is longer than {MAX_KEY_LENGTH} characters" if len(key) > MAX_KEY_LENGTH else ""


@transaction.atomic
def import_keys(pool: LicensePool, keys: list[str], *, by: str, file_name: str = "", note: str = "") -> ImportResult:
    """Put keys into the pool in this order, those left out that the file repeats or the merchant has already.

    Items that wait for the pool get theirs as soon as this is committed.
    """
    with connection.cursor() as cursor:
        repeated = _upload(cursor, keys)
        # Serializes a merchant's imports, for a key must not enter two pools at once; and this one with whoever moves
        # the pool's hint. Payments never wait for either.
        Merchant.objects.select_for_update(no_key=True).get(pk=pool.merchant_id)
        pool = LicensePool.objects.select_for_update(no_key=True).get(pk=pool.pk)
        in_pool, elsewhere = _discard_known(cursor, pool)
        new = len(keys) - repeated - in_pool - elsewhere
        if not new:
            return ImportResult(None, 0, repeated, in_pool, elsewhere)

        batch = KeyBatch.objects.create(pool=pool, key_count=new, file_name=file_name, note=note, imported_by=by)
        cursor.execute(
            "INSERT INTO pools_licensekey (pool_id, batch_id, position, code, fingerprint, hint)"
            " SELECT %s, %s, %s + row_number() OVER (ORDER BY line) - 1, code, fingerprint, hint FROM upload",
            [pool.pk, batch.pk, pool.next_position],
        )

    pool.next_position += new
    pool.save(update_fields=["next_position"])
    rearm(pool)
    pool_refilled.send(LicensePool, pool=pool)
    return ImportResult(batch, new, repeated, in_pool, elsewhere)


def _upload(cursor, keys: list[str]) -> int:
    """Copy the keys to a temporary table `upload`, each once; return how many were repetitions."""
    cursor.execute("DROP TABLE IF EXISTS pg_temp.upload")
    cursor.execute(
        "CREATE TEMPORARY TABLE upload (line integer, code bytea, fingerprint bytea, hint text) ON COMMIT DROP"
    )
    load_key()  # needs the connection, which is busy while it copies
    with cursor.copy("COPY upload FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(["int4", "bytea", "bytea", "text"])
        for row in _distinct(keys):
            copy.write_row(row)
    cursor.execute("SELECT count(*) FROM upload")
    return len(keys) - cursor.fetchone()[0]


def _distinct(keys: list[str]) -> Iterator[tuple[int, bytes, bytes, str]]:
    seen = set()
    for line, key in enumerate(keys):
        identity = fingerprint(key)
        if identity not in seen:
            seen.add(identity)
            yield line, encrypt(key), identity, hint(key)


def _discard_known(cursor, pool: LicensePool) -> tuple[int, int]:
    """Drop from `upload` what this pool ever held, and what another pool of the merchant could still issue or has.

    Return how many of each. A key withdrawn elsewhere is free to move here.
    """
    cursor.execute(
        "DELETE FROM upload USING pools_licensekey key"
        " WHERE key.fingerprint = upload.fingerprint AND key.pool_id = %s",
        [pool.pk],
    )
    in_pool = cursor.rowcount
    cursor.execute(
        "DELETE FROM upload USING pools_licensekey key JOIN pools_licensepool pool ON pool.id = key.pool_id"
        " WHERE key.fingerprint = upload.fingerprint AND pool.merchant_id = %s AND key.withdrawn_at IS NULL",
        [pool.merchant_id],
    )
    return in_pool, cursor.rowcount
