"""License keys coming in: all of them or none, each once."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from django.db import connection, transaction

from merchants.models import Merchant
from orders.license_texts import hint, loose_fingerprints
from pools.models import KeyBatch, LicenseKey, LicensePool
from pools.reading import MAX_KEYS, KeyFileError, KeyLine
from pools.replenishment import rearm
from pools.signals import pool_refilled
from vault.ciphers import encrypt_all
from vault.fingerprints import fingerprints

CHUNK = 20_000  # keys that are copied to the database in one go
LINES_SHOWN = 100  # so many lines of a kind are enough to see what is wrong


@dataclass
class Lines:
    """How many lines are of a kind, and the numbers of the first of them."""

    count: int = 0
    numbers: list[int] = field(default_factory=list)

    def add(self, number: int) -> None:
        self.count += 1
        if len(self.numbers) < LINES_SHOWN:
            self.numbers.append(number)


@dataclass
class Preview:
    """What comes of an import: which lines bring a new key, and which are left out and why."""

    keys: int = 0  # in all
    new: int = 0
    repeated: Lines = field(default_factory=Lines)
    already_in_pool: Lines = field(default_factory=Lines)
    already_in_other_pools: Lines = field(default_factory=Lines)
    empty: Lines = field(default_factory=Lines)
    unusable: Lines = field(default_factory=Lines)
    similar: Lines = field(default_factory=Lines)  # to an earlier line
    similar_in_pool: Lines = field(default_factory=Lines)
    fixable: int = 0  # keys with what a spreadsheet added
    problems: dict[int, str] = field(default_factory=dict)  # of unusable lines
    read_as: dict[str, Any] = field(default_factory=dict)  # see reading.detect
    warnings: list[str] = field(default_factory=list)

    @property
    def left_out(self) -> dict[str, int]:
        kinds = ("repeated", "already_in_pool", "already_in_other_pools", "unusable")
        return {kind: getattr(self, kind).count for kind in kinds}


@dataclass(frozen=True)
class ImportResult:
    batch: KeyBatch | None  # None if there was nothing new
    preview: Preview

    @property
    def imported(self) -> int:
        return self.preview.new


def preview_keys(
    pool: LicensePool | None, lines: Iterable[KeyLine], *, progress: Callable[[int], None] = lambda lines: None
) -> Preview:
    """What would come of importing these, in a transaction that the caller ends. Raises KeyFileError.

    Without a pool they are compared with themselves only.
    """
    with connection.cursor() as cursor:
        preview = _stage(cursor, lines, progress)
        if not preview.keys:
            raise KeyFileError("There is no license key in it.", preview.problems)
        if pool:
            _leave_out(cursor, pool, preview)
    return preview


def import_keys(
    pool: LicensePool, keys: Iterable[str], *, actor: str, file_name: str = "", note: str = ""
) -> ImportResult:
    """Put keys into the pool in this order, those left out that are repeated or that the merchant has already.

    Items that wait for the pool get theirs as soon as this is committed.
    """
    lines = (KeyLine(number, key) for number, key in enumerate(keys, start=1))
    return import_lines(pool, lines, actor=actor, file_name=file_name, note=note, progress=lambda lines: None)


@transaction.atomic
def import_lines(
    pool: LicensePool,
    lines: Iterable[KeyLine],
    *,
    actor: str,
    file_name: str,
    note: str,
    progress: Callable[[int], None],
) -> ImportResult:
    """The same with what was read, empty and unusable lines included; `tell` hears how many keys are copied."""
    with connection.cursor() as cursor:
        preview = _stage(cursor, lines, progress, into=pool)
        # Serializes a merchant's imports, for a key must not enter two pools at once; and this one with whoever moves
        # the pool's hint. Payments never wait for either.
        Merchant.objects.select_for_update(no_key=True).get(pk=pool.merchant_id)
        pool = LicensePool.objects.select_for_update(no_key=True).get(pk=pool.pk)
        _leave_out(cursor, pool, preview)
        if not preview.new:
            return ImportResult(None, preview)

        batch = KeyBatch.objects.create(
            pool=pool, key_count=preview.new, file_name=file_name, note=note, imported_by=actor, **preview.left_out
        )
        cursor.execute(
            "INSERT INTO pools_licensekey (pool_id, batch_id, position, code, fingerprint, loose_fingerprint, hint)"
            " SELECT %s, %s, %s + place, code, fingerprint, loose_fingerprint, hint FROM upload",
            [pool.pk, batch.pk, pool.next_position],
        )

    # Where a key was left out, none stands: positions only grow, they do not count.
    pool.next_position += preview.keys
    pool.save(update_fields=["next_position"])
    rearm(pool)
    pool_refilled.send(LicensePool, pool=pool)
    return ImportResult(batch, preview)


def _stage(
    cursor, lines: Iterable[KeyLine], progress: Callable[[int], None], *, into: LicensePool | None = None
) -> Preview:
    """Copy the keys to a temporary table `upload`, those repeated left out; with their codes, if `into` a pool."""
    preview = Preview()
    cursor.execute("SET LOCAL work_mem = '64MB'")
    cursor.execute("DROP TABLE IF EXISTS pg_temp.upload")
    cursor.execute(
        "CREATE TEMPORARY TABLE upload (place integer, line integer, fingerprint bytea, loose_fingerprint bytea,"
        " code bytea, hint text)"
        " ON COMMIT DROP"
    )
    # A line may hold several keys, or a key several lines: what orders them is their place.
    names = "place, line, fingerprint, loose_fingerprint" + (", code, hint" if into else "")
    types = ["int4", "int4", "bytea", "bytea", "bytea", "text"][: len(names.split())]
    keys = _keys(lines, preview)
    count = 0
    while chunk := list(islice(keys, CHUNK)):
        numbers, texts = [line for line, _ in chunk], [key for _, key in chunk]
        places = range(count, count + len(chunk))
        digests = fingerprints(texts)
        columns: list[Iterable[Any]] = [places, numbers, digests, loose_fingerprints(texts)]
        if into:
            columns += [_seal(into, texts, digests), list(map(hint, texts))]
        with cursor.copy(f"COPY upload ({names}) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(types)
            for row in zip(*columns, strict=True):
                copy.write_row(row)
        count += len(chunk)
        if count > MAX_KEYS:
            raise KeyFileError(f"There are more than {MAX_KEYS:,} keys in it. Split it, please.")
        progress(count)
    cursor.execute("ANALYZE upload")
    cursor.execute(
        "WITH first AS (SELECT fingerprint, min(place) AS place FROM upload GROUP BY fingerprint HAVING count(*) > 1),"
        " gone AS (DELETE FROM upload USING first"
        " WHERE upload.fingerprint = first.fingerprint AND upload.place > first.place RETURNING upload.line)"
        " SELECT count(*), (array_agg(line ORDER BY line))[:%s] FROM gone",
        [LINES_SHOWN],
    )
    preview.repeated = _to_lines(cursor.fetchone())
    preview.keys, preview.new = count, count - preview.repeated.count
    cursor.execute(
        "WITH first AS (SELECT loose_fingerprint, min(place) AS place FROM upload WHERE loose_fingerprint IS NOT NULL"
        " GROUP BY loose_fingerprint HAVING count(*) > 1)"
        " SELECT count(*), (array_agg(line ORDER BY line))[:%s] FROM upload JOIN first USING (loose_fingerprint)"
        " WHERE upload.place > first.place",
        [LINES_SHOWN],
    )
    preview.similar = _to_lines(cursor.fetchone())
    return preview


def _to_lines(row: tuple[int, list[int] | None]) -> Lines:
    count, numbers = row
    return Lines(count, numbers or [])


def _seal(pool: LicensePool, texts: list[str], digests: list[bytes]) -> list[bytes]:
    """Encrypt each for its place, which is the pool and the fingerprint; the field itself would do it one by one."""
    of_pool = LicenseKey._meta.get_field("code").place([pool.pk, b""])
    return encrypt_all(texts, [of_pool + digest for digest in digests])


def _keys(lines: Iterable[KeyLine], preview: Preview) -> Iterator[tuple[int, str]]:
    for line in lines:
        if line.key:
            yield line.number, line.key
        elif line.problem:
            preview.unusable.add(line.number)
            if len(preview.problems) < LINES_SHOWN:
                preview.problems[line.number] = line.problem
        else:
            preview.empty.add(line.number)


def _leave_out(cursor, pool: LicensePool, preview: Preview) -> None:
    """Drop from `upload` what this pool ever held, and what another pool of the merchant could still issue or has.

    A key withdrawn elsewhere by hand is free to move here. One in quarantine may go back to stock there, and one that
    was replaced does not work.
    """
    cursor.execute(
        "WITH known AS ("
        " SELECT place, bool_or(key.pool_id = %(pool)s) AS here"
        " FROM upload JOIN pools_licensekey key USING (fingerprint)"
        " JOIN pools_licensepool pool ON pool.id = key.pool_id"
        " WHERE pool.merchant_id = %(merchant)s"
        " AND (pool.id = %(pool)s OR key.withdrawn_at IS NULL OR key.withdrawn_because <> '')"
        " GROUP BY place),"
        " gone AS (DELETE FROM upload USING known WHERE upload.place = known.place RETURNING line, here)"
        " SELECT here, count(*), (array_agg(line ORDER BY line))[:%(shown)s] FROM gone GROUP BY here",
        {"pool": pool.pk, "merchant": pool.merchant_id, "shown": LINES_SHOWN},
    )
    known = {here: Lines(count, numbers) for here, count, numbers in cursor.fetchall()}
    preview.already_in_pool = known.get(True, Lines())
    preview.already_in_other_pools = known.get(False, Lines())
    preview.new -= preview.already_in_pool.count + preview.already_in_other_pools.count
    cursor.execute(
        "SELECT count(*), (array_agg(line ORDER BY line))[:%s] FROM upload"
        " WHERE EXISTS (SELECT FROM pools_licensekey key"
        " WHERE key.loose_fingerprint = upload.loose_fingerprint AND key.pool_id = %s)",
        [LINES_SHOWN, pool.pk],
    )
    preview.similar_in_pool = _to_lines(cursor.fetchone())
