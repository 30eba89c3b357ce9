"""Imports license keys: all of them or none, each only once."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from struct import Struct
from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.db import connection, transaction
from django.utils.translation import gettext
from psycopg.copy import QueuedLibpqWriter

from merchants.models import Merchant
from orders.license_texts import hints, loose_fingerprints
from pools.models import KeyBatch, KeyImport, LicenseKey, LicensePool
from pools.reading import MAX_KEYS, KeyFileError, KeyLine
from pools.replenishment import rearm
from pools.signals import pool_refilled
from vault.ciphers import KEY_ID_LENGTH, encrypt_all, encryption_key_id
from vault.fingerprints import LENGTH, fingerprints, load_key

# Keys per COPY statement. They are stored in the order of their fingerprints, which halves the time to add them to the
# index of fingerprints. So the keys of up to this many consecutive positions are mixed on disk.
COPY_BATCH_SIZE = 32_768
MAX_BATCH = 4_000_000  # characters of their texts
LINES_AT_A_TIME = 500
MAX_LINES_SHOWN = 100  # line numbers of each kind; enough to see what is wrong

# COPY's binary format: each row has its number of values, each value its length in bytes.
COPY_START, COPY_END = b"PGCOPY\n\xff\r\n" + bytes(9), b"\xff\xff"
FIXED = Struct(f"!hi{LENGTH}siqiiii").pack  # number of values, fingerprint, import, place, line
SIZE, NULL = Struct("!i").pack, b"\xff\xff\xff\xff"
LOOSE = SIZE(LENGTH)


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

    @classmethod
    def of_upload(cls, stored: dict[str, Any]) -> "Preview":
        """Return a stored preview as it was before known keys were left out."""
        kept = ("repeated", "empty", "unusable", "similar", "similar_in_pool")
        kinds = {kind: Lines(**stored[kind]) for kind in kept}
        new = stored["keys"] - kinds["repeated"].count
        preview = cls(keys=stored["keys"], new=new, problems=stored["problems"])
        vars(preview).update(kinds)
        return preview

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
    pool: LicensePool | None,
    lines: Iterable[KeyLine],
    *,
    progress: Callable[[int], None] = lambda lines: None,
    keep_for: KeyImport | None = None,
) -> Preview:
    """Preview an import, in the caller's transaction. Raises KeyFileError.

    Without a pool, keys are only compared with each other. With `keep_for`, the encrypted keys are kept for
    `import_lines`, until `delete_staged_keys`.
    """
    with _upload_cursor() as cursor:
        preview = _stage(cursor, lines, progress, into=pool if keep_for else None, keep_for=keep_for)
        if not preview.keys:
            raise KeyFileError(gettext("No license keys found."), preview.problems)
        if pool:
            _find_known(cursor, pool, preview)
            _find_similar(cursor, pool, preview)
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
    kept_for: KeyImport | None = None,
) -> ImportResult:
    """Like `import_keys`, for the lines of a file. `progress` is called with the number of keys copied so far.

    With `kept_for`, the keys that `preview_keys` kept are imported without reading the lines, if they are still there.
    """
    with _upload_cursor() as cursor:
        kept = _find_kept(cursor, kept_for) if kept_for else None
        preview = kept or _stage(cursor, lines, progress, into=pool)
        # The first lock serializes the merchant's imports, so that no key enters two pools. The second serializes
        # this import with changes of the pool's hint. Payments wait for neither.
        Merchant.objects.select_for_update(no_key=True).get(pk=pool.merchant.vendor_id)
        pool = LicensePool.objects.select_for_update(no_key=True).get(pk=pool.pk)
        _find_known(cursor, pool, preview)
        if not kept:
            _find_similar(cursor, pool, preview)
        if not preview.new:
            return ImportResult(None, preview)

        batch = KeyBatch.objects.create(
            pool=pool, key_count=preview.new, file_name=file_name, note=note, imported_by=actor, **preview.left_out
        )
        # NOT IN keeps the order of the keys on disk. Joins may change it.
        cursor.execute(
            "INSERT INTO pools_licensekey (pool_id, batch_id, position, code, fingerprint, loose_fingerprint, hint)"
            " SELECT %s, %s, %s + place, code, fingerprint, loose_fingerprint, hint FROM upload"
            " WHERE place NOT IN (SELECT place FROM known)",
            [pool.pk, batch.pk, pool.next_position],
        )

    # Skipped keys leave gaps: positions are an order, not a count.
    pool.next_position += preview.keys
    pool.save(update_fields=["next_position"])
    rearm(pool)
    pool_refilled.send(LicensePool, pool=pool)
    return ImportResult(batch, preview)


@contextmanager
def _upload_cursor() -> Iterator[Any]:
    """Yield a cursor for statements with the view `upload`, which is dropped afterwards."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '64MB'")
        cursor.execute("SET LOCAL default_statistics_target = 10")
        yield cursor
        cursor.execute("DROP VIEW upload")  # a leftover view would block migrations


def _stage(
    cursor,
    lines: Iterable[KeyLine],
    progress: Callable[[int], None],
    *,
    into: LicensePool | None = None,
    keep_for: KeyImport | None = None,
) -> Preview:
    """Copy the keys to the view `upload`, without repeated ones; with their codes if `into` is a pool."""
    load_key()  # no query is possible during COPY
    preview = Preview()
    table = _make_upload(cursor, keep_for)
    lines, rows = iter(lines), b""
    while (keys := _take(lines, preview))[0] or rows:
        # PostgreSQL stores the rows while we encrypt the next ones.
        inner = cursor.cursor  # psycopg's
        with inner.copy(f"COPY {table} FROM STDIN (FORMAT binary)", writer=QueuedLibpqWriter(inner)) as copy:
            copy.write(COPY_START + rows + COPY_END)
            count = preview.keys
            rows = _pack(*keys, preview, into, keep_for)
        if preview.keys > MAX_KEYS:
            raise KeyFileError(
                gettext("The file contains more than {max_keys} keys. Split it.").format(max_keys=intcomma(MAX_KEYS))
            )
        progress(count)
    if keep_for:
        cursor.execute("SELECT brin_summarize_new_values('staged_by_import')")
    cursor.execute(f"ANALYZE {table}")
    _delete_repeated(cursor, preview)
    return preview


def _take(lines: Iterator[KeyLine], preview: Preview) -> tuple[list[str], list[int]]:
    """Return the next keys and the numbers of their lines; note other lines in the preview."""
    texts: list[str] = []
    numbers: list[int] = []
    # Few lines at a time, so that Python's garbage collector never examines them.
    size = 0
    while len(texts) < COPY_BATCH_SIZE and size < MAX_BATCH and (some := list(islice(lines, LINES_AT_A_TIME))):
        found = [line for line in some if line.key]
        if len(found) < len(some):
            _note_others(some, preview)
        texts += [line.key for line in found]
        size += sum(map(len, texts[-len(found) :])) if found else 0
        numbers += [line.number for line in found]
    return texts, numbers


def _pack(
    texts: list[str], numbers: list[int], preview: Preview, into: LicensePool | None, keep_for: KeyImport | None
) -> bytes:
    """Return the keys as rows for COPY, ordered by fingerprint; count them in the preview."""
    digests = fingerprints(texts)
    # Ordered by place, because a line can contain several keys, and a key several lines.
    places = range(preview.keys, preview.keys + len(texts))
    preview.keys += len(texts)
    owner = keep_for.pk if keep_for else 0
    rows = [
        FIXED(7, LENGTH, digest, 8, owner, 4, place, 4, number) + (LOOSE + loose if loose else NULL)
        for digest, place, number, loose in zip(digests, places, numbers, loose_fingerprints(texts), strict=True)
    ]
    if into:
        sealed = zip(rows, _seal(into, texts, digests), hints(texts), strict=True)
        rows = [row + SIZE(len(code)) + code + SIZE(len(end := hint.encode())) + end for row, code, hint in sealed]
    else:
        rows = [row + NULL + NULL for row in rows]
    return b"".join(sorted(rows))


def _make_upload(cursor, keep_for: KeyImport | None) -> str:
    """Create the view `upload` of a temporary table or of what is kept for the import. Return the table's name."""
    if keep_for:
        cursor.execute("DELETE FROM pools_stagedkey WHERE key_import_id = %s", [keep_for.pk])
        return _show_kept(cursor, keep_for)
    cursor.execute("DROP TABLE IF EXISTS pg_temp.staged CASCADE")
    cursor.execute("CREATE TEMPORARY TABLE staged (LIKE pools_stagedkey) ON COMMIT DROP")
    cursor.execute("CREATE OR REPLACE TEMPORARY VIEW upload AS SELECT * FROM staged")
    return "staged"


def _show_kept(cursor, key_import: KeyImport) -> str:
    cursor.execute(
        "CREATE OR REPLACE TEMPORARY VIEW upload AS SELECT * FROM pools_stagedkey WHERE key_import_id = %s",
        [key_import.pk],
    )
    return "pools_stagedkey"


def _find_kept(cursor, key_import: KeyImport) -> Preview | None:
    """Show the keys kept for the import as `upload`, and return their preview; None if they can't be used any more.

    PostgreSQL empties their table after a crash. VAULT_KEYS may have changed since they were encrypted.
    """
    if not key_import.is_staged:
        return None
    preview = Preview.of_upload(key_import.preview)
    _show_kept(cursor, key_import)
    cursor.execute(
        "SELECT count(*) FROM upload WHERE substring(code FROM 1 FOR %s) = %s", [KEY_ID_LENGTH, encryption_key_id()]
    )
    [count] = cursor.fetchone()
    return preview if count == preview.new else None


def delete_staged_keys() -> None:
    """Delete the keys that were kept for imports that have ended."""
    with connection.cursor() as cursor:
        ended = KeyImport.objects.filter(is_staged=True).exclude(status__in=KeyImport.OPEN)
        for pk in ended.values_list("pk", flat=True):
            cursor.execute("DELETE FROM pools_stagedkey WHERE key_import_id = %s", [pk])
            KeyImport.objects.filter(pk=pk).update(is_staged=False)


def _note_others(lines: list[KeyLine], preview: Preview) -> None:
    for line in lines:
        if line.problem:
            preview.unusable.add(line.number)
            if len(preview.problems) < MAX_LINES_SHOWN:
                preview.problems[line.number] = line.problem
        elif not line.key:
            preview.empty.add(line.number)


def _delete_repeated(cursor, preview: Preview) -> None:
    """Delete repeated keys from `upload`, and count keys that are only similar to an earlier one."""
    cursor.execute("DROP TABLE IF EXISTS pg_temp.twins")
    # Equal keys have equal loose fingerprints, too, so one pass finds both kinds. Keys without letters have none.
    cursor.execute(
        "CREATE TEMPORARY TABLE twins ON COMMIT DROP AS SELECT place, line, fingerprint, twin.loose FROM upload JOIN"
        " (SELECT coalesce(loose_fingerprint, fingerprint) AS loose FROM upload GROUP BY 1 HAVING count(*) > 1) twin"
        " ON twin.loose = coalesce(upload.loose_fingerprint, upload.fingerprint)"
    )
    cursor.execute(
        "WITH ranked AS (SELECT place, min(place) OVER (PARTITION BY fingerprint) AS first FROM twins),"
        " gone AS (DELETE FROM upload USING ranked"
        " WHERE upload.place = ranked.place AND ranked.place > ranked.first RETURNING line)"
        " SELECT count(*), (array_agg(line ORDER BY line))[:%s] FROM gone",
        [MAX_LINES_SHOWN],
    )
    preview.repeated = _to_lines(cursor.fetchone())
    preview.new = preview.keys - preview.repeated.count
    cursor.execute(
        "WITH kept AS (SELECT DISTINCT ON (fingerprint) place, line, loose FROM twins ORDER BY fingerprint, place),"
        " ranked AS (SELECT place, line, min(place) OVER (PARTITION BY loose) AS first FROM kept)"
        " SELECT count(*), (array_agg(line ORDER BY line))[:%s] FROM ranked WHERE place > first",
        [MAX_LINES_SHOWN],
    )
    preview.similar = _to_lines(cursor.fetchone())


def _to_lines(row: tuple[int, list[int] | None]) -> Lines:
    count, numbers = row
    return Lines(count, numbers or [])


def _seal(pool: LicensePool, texts: list[str], digests: list[bytes]) -> list[bytes]:
    """Encrypt each key for its place, pool and fingerprint. Faster than saving, which encrypts keys one by one."""
    prefix = LicenseKey._meta.get_field("code").place([pool.pk, b""])
    return encrypt_all(texts, [prefix + digest for digest in digests])


def _find_known(cursor, pool: LicensePool, preview: Preview) -> None:
    """Collect in `known` the keys that were ever in this pool, and keys in the merchant's other live and test pools.

    A key that was withdrawn by hand from another pool may move here. Keys in quarantine may not, because they can
    return to their stock; neither may replaced keys, because they don't work.
    """
    cursor.execute("DROP TABLE IF EXISTS pg_temp.known")
    cursor.execute(
        "CREATE TEMPORARY TABLE known ON COMMIT DROP AS"
        " SELECT place, line, bool_or(key.pool_id = %(pool)s) AS here"
        " FROM upload JOIN pools_licensekey key USING (fingerprint)"
        " JOIN pools_licensepool pool ON pool.id = key.pool_id"
        " WHERE pool.id = ANY(%(pools)s)"
        " AND (pool.id = %(pool)s OR key.withdrawn_at IS NULL OR key.withdrawn_because <> '')"
        " GROUP BY place, line",
        {"pool": pool.pk, "pools": list(LicensePool.objects.of_vendor(pool.merchant).values_list("pk", flat=True))},
    )
    cursor.execute(
        "SELECT here, count(*), (array_agg(line ORDER BY line))[:%s] FROM known GROUP BY here", [MAX_LINES_SHOWN]
    )
    known = {here: Lines(count, numbers) for here, count, numbers in cursor.fetchall()}
    preview.already_in_pool = known.get(True, Lines())
    preview.already_in_other_pools = known.get(False, Lines())
    preview.new -= preview.already_in_pool.count + preview.already_in_other_pools.count


def _find_similar(cursor, pool: LicensePool, preview: Preview) -> None:
    """Count new keys that look like one of this pool."""
    cursor.execute(
        "SELECT count(*), (array_agg(line ORDER BY line))[:%s] FROM upload"
        " WHERE EXISTS (SELECT FROM pools_licensekey key"
        " WHERE key.loose_fingerprint = upload.loose_fingerprint AND key.pool_id = %s)"
        " AND NOT EXISTS (SELECT FROM known WHERE known.place = upload.place)",
        [MAX_LINES_SHOWN, pool.pk],
    )
    preview.similar_in_pool = _to_lines(cursor.fetchone())
