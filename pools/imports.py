"""Imports license keys: all of them or none, each only once."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from django.db import connection, transaction
from django.utils.translation import gettext

from merchants.models import Merchant
from orders.license_texts import hints, loose_fingerprints
from pools.models import KeyBatch, LicenseKey, LicensePool
from pools.reading import MAX_KEYS, KeyFileError, KeyLine
from pools.replenishment import rearm
from pools.signals import pool_refilled
from vault.ciphers import encrypt_all
from vault.fingerprints import fingerprints

COPY_BATCH_SIZE = 20_000  # keys per COPY statement
MAX_LINES_SHOWN = 100  # line numbers of each kind; enough to see what is wrong


@dataclass
class Lines:
    """A kind of lines: how many there are, and the numbers of the first ones."""

    count: int = 0
    numbers: list[int] = field(default_factory=list)

    def add(self, number: int) -> None:
        self.count += 1
        if len(self.numbers) < MAX_LINES_SHOWN:
            self.numbers.append(number)


@dataclass
class Preview:
    """The result of an import: how many keys are new, and which lines are skipped and why."""

    keys: int = 0  # total
    new: int = 0
    repeated: Lines = field(default_factory=Lines)
    already_in_pool: Lines = field(default_factory=Lines)
    already_in_other_pools: Lines = field(default_factory=Lines)
    empty: Lines = field(default_factory=Lines)
    unusable: Lines = field(default_factory=Lines)
    similar: Lines = field(default_factory=Lines)  # to an earlier line
    similar_in_pool: Lines = field(default_factory=Lines)
    fixable: int = 0  # keys with formatting that a spreadsheet added
    problems: dict[int, str] = field(default_factory=dict)  # by number of the unusable line
    read_as: dict[str, Any] = field(default_factory=dict)  # see reading.detect
    warnings: list[str] = field(default_factory=list)

    @property
    def left_out(self) -> dict[str, int]:
        kinds = ("repeated", "already_in_pool", "already_in_other_pools", "unusable")
        return {kind: getattr(self, kind).count for kind in kinds}


@dataclass(frozen=True)
class ImportResult:
    batch: KeyBatch | None  # None if no key was new
    preview: Preview

    @property
    def imported(self) -> int:
        return self.preview.new


def preview_keys(
    pool: LicensePool | None, lines: Iterable[KeyLine], *, progress: Callable[[int], None] = lambda lines: None
) -> Preview:
    """Preview an import, in the caller's transaction. Raises KeyFileError.

    Without a pool, keys are only compared with each other.
    """
    with connection.cursor() as cursor:
        preview = _stage(cursor, lines, progress)
        if not preview.keys:
            raise KeyFileError(gettext("No license keys found."), preview.problems)
        if pool:
            _skip_known(cursor, pool, preview)
    return preview


def import_keys(
    pool: LicensePool, keys: Iterable[str], *, actor: str, file_name: str = "", note: str = ""
) -> ImportResult:
    """Add keys to the pool in this order, skipping repeated ones and those the merchant already has.

    Waiting items get their keys as soon as the transaction commits.
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
    """Like `import_keys`, for the lines of a file. `progress` is called with the number of keys copied so far."""
    with connection.cursor() as cursor:
        preview = _stage(cursor, lines, progress, into=pool)
        # The first lock serializes the merchant's imports, so that no key enters two pools. The second serializes
        # this import with changes of the pool's hint. Payments wait for neither.
        Merchant.objects.select_for_update(no_key=True).get(pk=pool.merchant_id)
        pool = LicensePool.objects.select_for_update(no_key=True).get(pk=pool.pk)
        _skip_known(cursor, pool, preview)
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

    # Skipped keys leave gaps: positions are an order, not a count.
    pool.next_position += preview.keys
    pool.save(update_fields=["next_position"])
    rearm(pool)
    pool_refilled.send(LicensePool, pool=pool)
    return ImportResult(batch, preview)


def _stage(
    cursor, lines: Iterable[KeyLine], progress: Callable[[int], None], *, into: LicensePool | None = None
) -> Preview:
    """Copy the keys to a temporary table `upload`, without repeated ones; with their codes if `into` is a pool."""
    preview = Preview()
    cursor.execute("SET LOCAL work_mem = '64MB'")
    cursor.execute("DROP TABLE IF EXISTS pg_temp.upload")
    cursor.execute(
        "CREATE TEMPORARY TABLE upload (place integer, line integer, fingerprint bytea, loose_fingerprint bytea,"
        " code bytea, hint text)"
        " ON COMMIT DROP"
    )
    # Ordered by place, because a line can contain several keys, and a key several lines.
    names = "place, line, fingerprint, loose_fingerprint" + (", code, hint" if into else "")
    types = ["int4", "int4", "bytea", "bytea", "bytea", "text"][: len(names.split())]
    keys = _keys(lines, preview)
    count = 0
    while chunk := list(islice(keys, COPY_BATCH_SIZE)):
        numbers, texts = [line for line, _ in chunk], [key for _, key in chunk]
        places = range(count, count + len(chunk))
        digests = fingerprints(texts)
        columns: list[Iterable[Any]] = [places, numbers, digests, loose_fingerprints(texts)]
        if into:
            columns += [_seal(into, texts, digests), hints(texts)]
        with cursor.copy(f"COPY upload ({names}) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(types)
            for row in zip(*columns, strict=True):
                copy.write_row(row)
        count += len(chunk)
        if count > MAX_KEYS:
            raise KeyFileError(
                gettext("The file contains more than {max_keys:,} keys. Split it.").format(max_keys=MAX_KEYS)
            )
        progress(count)
    cursor.execute("ANALYZE upload")
    cursor.execute(
        "WITH first AS (SELECT fingerprint, min(place) AS place FROM upload GROUP BY fingerprint HAVING count(*) > 1),"
        " gone AS (DELETE FROM upload USING first"
        " WHERE upload.fingerprint = first.fingerprint AND upload.place > first.place RETURNING upload.line)"
        " SELECT count(*), (array_agg(line ORDER BY line))[:%s] FROM gone",
        [MAX_LINES_SHOWN],
    )
    preview.repeated = _to_lines(cursor.fetchone())
    preview.keys, preview.new = count, count - preview.repeated.count
    cursor.execute(
        "WITH first AS (SELECT loose_fingerprint, min(place) AS place FROM upload WHERE loose_fingerprint IS NOT NULL"
        " GROUP BY loose_fingerprint HAVING count(*) > 1)"
        " SELECT count(*), (array_agg(line ORDER BY line))[:%s] FROM upload JOIN first USING (loose_fingerprint)"
        " WHERE upload.place > first.place",
        [MAX_LINES_SHOWN],
    )
    preview.similar = _to_lines(cursor.fetchone())
    return preview


def _to_lines(row: tuple[int, list[int] | None]) -> Lines:
    count, numbers = row
    return Lines(count, numbers or [])


def _seal(pool: LicensePool, texts: list[str], digests: list[bytes]) -> list[bytes]:
    """Encrypt each key for its place, pool and fingerprint. Faster than saving, which encrypts keys one by one."""
    prefix = LicenseKey._meta.get_field("code").place([pool.pk, b""])
    return encrypt_all(texts, [prefix + digest for digest in digests])


def _keys(lines: Iterable[KeyLine], preview: Preview) -> Iterator[tuple[int, str]]:
    for line in lines:
        if line.key:
            yield line.number, line.key
        elif line.problem:
            preview.unusable.add(line.number)
            if len(preview.problems) < MAX_LINES_SHOWN:
                preview.problems[line.number] = line.problem
        else:
            preview.empty.add(line.number)


def _skip_known(cursor, pool: LicensePool, preview: Preview) -> None:
    """Delete from `upload` keys that were ever in this pool, and keys in the merchant's other pools.

    A key that was withdrawn by hand from another pool may move here. Keys in quarantine may not, because they can
    return to their stock; neither may replaced keys, because they don't work.
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
        {"pool": pool.pk, "merchant": pool.merchant_id, "shown": MAX_LINES_SHOWN},
    )
    known = {here: Lines(count, numbers) for here, count, numbers in cursor.fetchall()}
    preview.already_in_pool = known.get(True, Lines())
    preview.already_in_other_pools = known.get(False, Lines())
    preview.new -= preview.already_in_pool.count + preview.already_in_other_pools.count
    cursor.execute(
        "SELECT count(*), (array_agg(line ORDER BY line))[:%s] FROM upload"
        " WHERE EXISTS (SELECT FROM pools_licensekey key"
        " WHERE key.loose_fingerprint = upload.loose_fingerprint AND key.pool_id = %s)",
        [MAX_LINES_SHOWN, pool.pk],
    )
    preview.similar_in_pool = _to_lines(cursor.fetchone())
