"""License keys coming in: all of a file or none of it."""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now
from redis.exceptions import RedisError

from merchants.models import Merchant
from orders.models import hint
from pools.allocation import fill_reserve
from pools.ledger import moved_by
from pools.models import KeyBatch, KeyImport, KeyImportPart, LicenseKey, LicensePool, UploadLink
from pools.oddities import Oddities
from pools.reading import (
    MAX_KEYS,
    KeyFileError,
    KeyLine,
    detect,
    do_not_guess,
    get_columns,
    read_keys,
    refuse_bad_lines,
    unpack,
)
from pools.replenishment import check_stock, rearm
from pools.signals import import_due, pool_refilled
from rest.valkey import valkey
from vault.ciphers import encrypt_all
from vault.fingerprints import fingerprints

logger = logging.getLogger(__name__)

# Up to this size, in bytes, whoever uploads is answered with the result; longer ones are a worker's.
AT_ONCE = 256 * 1024
CHUNK = 20_000  # keys that are copied to the database in one go
SAMPLE = 5  # keys that are shown before they are imported
LINES_SHOWN = 100  # so many lines of a kind are enough to see what is wrong
MAX_ATTEMPTS = 20
MOST_READY = 20  # imports of a pool that wait for a yes; of more the oldest are thrown away
# What nobody said yes to is thrown away.
PATIENCE = timedelta(days=1)


class ImportRefused(Exception):
    """It is too late for this, or too early."""


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


# An upload, from its first byte to its batch


def begin(
    pool: LicensePool,
    content: Iterable[bytes],
    *,
    by: str,
    file_name: str = "",
    note: str = "",
    options: dict[str, Any] | None = None,
    link: UploadLink | None = None,
    confirmed: bool = False,
    read_as: dict[str, Any] | None = None,
) -> KeyImport:
    """Take in what was uploaded, and have it read: at once if it is short. What cannot be read is refused.

    What is `confirmed` is imported as it comes. If somebody saw it before, read in this way, what cannot be a key is
    left out; otherwise one such line refuses it all.
    """
    key_import = KeyImport(
        pool=pool, size=0, file_name=_clean(file_name)[-255:], note=_clean(note)[:500], uploaded_by=by, link=link
    )
    key_import.options = options or {}
    if read_as:
        key_import.preview = {"read_as": read_as, "warnings": []}
    if confirmed:
        key_import.status, key_import.confirmed_at, key_import.confirmed_by = KeyImport.Status.IMPORTING, Now(), by
    try:
        with transaction.atomic():
            key_import.save()
            for number, part in enumerate(unpack(content)):
                KeyImportPart.objects.create(key_import=key_import, number=number, content=part)
                key_import.size += len(part)
            key_import.save(update_fields=["size"])
    except KeyFileError as error:
        key_import.pk = None
        key_import.status, key_import.error, key_import.size = KeyImport.Status.REFUSED, str(error), 0
        key_import.save(force_insert=True)
        return key_import
    key_import = _go_on(key_import)
    for forgotten in pool.imports.filter(status=KeyImport.Status.READY).order_by("-pk")[MOST_READY:]:
        discard(forgotten)
    return key_import


def _clean(text: str) -> str:
    """Without characters that no database takes, or that change how what follows is read."""
    return "".join(character for character in text if character.isprintable())


def read_again(key_import: KeyImport, options: dict[str, Any]) -> KeyImport:
    """Read it in another way. Raises ImportRefused if it is under way already."""
    changed = KeyImport.objects.filter(pk=key_import.pk, status__in=[KeyImport.Status.READY, KeyImport.Status.REFUSED])
    if not changed.update(status=KeyImport.Status.READING, options=options, preview={}, error="", attempts=0):
        raise ImportRefused(f"This import is {key_import.status} already.")
    return _go_on(key_import)


def confirm(key_import: KeyImport, *, by: str) -> KeyImport:
    """Import what the preview showed: at once if it is short. Raises ImportRefused unless the preview stands."""
    ready = KeyImport.objects.filter(pk=key_import.pk, status=KeyImport.Status.READY)
    if not ready.update(status=KeyImport.Status.IMPORTING, confirmed_at=Now(), confirmed_by=by, attempts=0):
        key_import.refresh_from_db(fields=["status"])
        raise ImportRefused(f"This import is {key_import.status} already.")
    return _go_on(key_import)


def discard(key_import: KeyImport) -> None:
    """Throw it away, unless somebody said yes already."""
    with transaction.atomic():
        open_still = KeyImport.objects.filter(pk=key_import.pk, status__in=KeyImport.OPEN)
        if open_still.exclude(status=KeyImport.Status.IMPORTING).update(
            status=KeyImport.Status.DISCARDED, ended_at=Now()
        ):
            KeyImportPart.objects.filter(key_import=key_import).delete()


def forget_old_imports() -> None:
    waiting = KeyImport.objects.filter(status__in=KeyImport.OPEN, uploaded_at__lt=Now() - PATIENCE)
    for key_import in waiting.exclude(status=KeyImport.Status.IMPORTING):
        discard(key_import)


def _go_on(key_import: KeyImport) -> KeyImport:
    if key_import.size <= AT_ONCE:
        work_on(key_import.pk)
    else:
        import_due.send(KeyImport, key_import=key_import)
    key_import.refresh_from_db()
    return key_import


def work_on(pk: int) -> None:
    """Read an import, or carry it out, whichever is next. Does nothing if somebody else is at it."""
    with transaction.atomic():
        key_import = _lock(pk)
        if key_import is None:
            return
        key_import.attempts += 1
        key_import.save(update_fields=["attempts"])
        if key_import.attempts > MAX_ATTEMPTS:
            _end(key_import, KeyImport.Status.FAILED, "Something failed on our side, again and again.")
            return

    # The lock of the row is the lease: it ends with the process that holds it.
    with transaction.atomic():
        key_import = _lock(pk)
        if key_import is None:
            return
        if key_import.status == KeyImport.Status.READING:
            _read(key_import)
        else:
            _carry_out(key_import)


def _lock(pk: int) -> KeyImport | None:
    return (
        KeyImport.objects.select_for_update(skip_locked=True, of=["self"])
        .select_related("pool")
        .filter(pk=pk, status__in=[KeyImport.Status.READING, KeyImport.Status.IMPORTING])
        .first()
    )


def _read(key_import: KeyImport) -> None:
    oddities, read_as = Oddities(), {}
    try:
        read_as = detect(_content(key_import), key_import.options, file_name=key_import.file_name)
        with transaction.atomic():
            lines = oddities.watch(read_keys(_content(key_import), read_as))
            preview = preview_keys(key_import.pool, lines, tell=_Progress(key_import))
    except KeyFileError as error:
        key_import.status = KeyImport.Status.REFUSED
        key_import.error, key_import.preview = str(error)[:500], {"problems": error.lines, "read_as": read_as}
    else:
        preview.read_as, preview.warnings = read_as, oddities.describe(key_import.pool)
        key_import.status, key_import.preview = KeyImport.Status.READY, asdict(preview)
    key_import.save(update_fields=["status", "error", "preview"])


def _carry_out(key_import: KeyImport) -> None:
    seen = key_import.preview
    try:
        result = _import(
            key_import.pool,
            _seen_lines(key_import) if seen else _unseen_lines(key_import),
            by=key_import.confirmed_by,
            file_name=key_import.file_name,
            note=key_import.note,
            tell=_Progress(key_import),
        )
    except KeyFileError as error:
        key_import.preview = {"problems": error.lines}
        _end(key_import, KeyImport.Status.FAILED, str(error)[:500])
        return
    key_import.batch = result.batch
    key_import.preview = asdict(result.preview) | {name: seen[name] for name in ("read_as", "warnings") if seen}
    _end(key_import, KeyImport.Status.IMPORTED)


def _end(key_import: KeyImport, status: KeyImport.Status, error: str = "") -> None:
    key_import.status, key_import.error, key_import.ended_at = status, error, Now()
    key_import.save(update_fields=["status", "error", "preview", "batch", "ended_at"])
    key_import.parts.all().delete()


def _seen_lines(key_import: KeyImport) -> Iterator[KeyLine]:
    return read_keys(_content(key_import), key_import.preview["read_as"])


def _unseen_lines(key_import: KeyImport) -> Iterator[KeyLine]:
    options = do_not_guess(_content(key_import), key_import.options)
    read_as = detect(_content(key_import), options, file_name=key_import.file_name)
    return refuse_bad_lines(read_keys(_content(key_import), read_as))


def _content(key_import: KeyImport) -> Iterator[bytes]:
    for number in range(key_import.parts.count()):
        yield bytes(key_import.parts.get(number=number).content)


@dataclass
class Glimpse:
    """The beginning of an upload, for those who may see its keys."""

    columns: list[str] = field(default_factory=list)  # of a CSV
    first: list[KeyLine] = field(default_factory=list)
    special: list[KeyLine] = field(default_factory=list)  # with letters that another encoding would read otherwise


def glimpse(key_import: KeyImport) -> Glimpse:
    """What the first megabyte shows of how it is read."""
    read_as, first_part = key_import.preview.get("read_as"), key_import.parts.filter(number=0).first()
    if not read_as or first_part is None:
        return Glimpse()
    content = [bytes(first_part.content)]
    seen = Glimpse(columns=get_columns(content, read_as))
    with contextlib.suppress(KeyFileError):
        for line in read_keys(content, read_as):
            if line.key and len(seen.first) < SAMPLE:
                seen.first.append(line)
            elif not line.key.isascii() and len(seen.special) < SAMPLE:
                seen.special.append(line)
            if len(seen.first) == len(seen.special) == SAMPLE:
                break
    return seen


# How far it is, in percent. It is told outside of the transaction, to Valkey: nothing hangs on it.

PROGRESS = "keywell:import:{0.pk}:{0.status}"


class _Progress:
    def __init__(self, key_import: KeyImport):
        self.name = PROGRESS.format(key_import)
        # How many keys there are is known once it was read.
        self.total = key_import.preview.get("keys") or key_import.size / 20

    def __call__(self, lines: int) -> None:
        with contextlib.suppress(RedisError):
            valkey().set(self.name, min(99, int(90 * lines / self.total)), ex=3600)


def get_progress(key_import: KeyImport) -> int | None:
    """How far it is, in percent, if that is known."""
    try:
        value: Any = valkey().get(PROGRESS.format(key_import))
    except RedisError:
        return None
    return None if value is None else int(value)


# The work itself


def preview_keys(
    pool: LicensePool, lines: Iterable[KeyLine], *, tell: Callable[[int], None] = lambda lines: None
) -> Preview:
    """What would come of importing these, in a transaction that the caller ends. Raises KeyFileError."""
    with connection.cursor() as cursor:
        preview = _stage(cursor, lines, tell, with_codes=False)
        if not preview.keys:
            raise KeyFileError("There is no license key in it.", preview.problems)
        _leave_out(cursor, pool, preview)
    return preview


def import_keys(
    pool: LicensePool, keys: Iterable[str], *, by: str, file_name: str = "", note: str = ""
) -> ImportResult:
    """Put keys into the pool in this order, those left out that are repeated or that the merchant has already.

    Items that wait for the pool get theirs as soon as this is committed.
    """
    lines = (KeyLine(number, key) for number, key in enumerate(keys, start=1))
    return _import(pool, lines, by=by, file_name=file_name, note=note, tell=lambda lines: None)


@transaction.atomic
def _import(
    pool: LicensePool,
    lines: Iterable[KeyLine],
    *,
    by: str,
    file_name: str,
    note: str,
    tell: Callable[[int], None],
) -> ImportResult:
    with connection.cursor() as cursor:
        preview = _stage(cursor, lines, tell, with_codes=True)
        # Serializes a merchant's imports, for a key must not enter two pools at once; and this one with whoever moves
        # the pool's hint. Payments never wait for either.
        Merchant.objects.select_for_update(no_key=True).get(pk=pool.merchant_id)
        pool = LicensePool.objects.select_for_update(no_key=True).get(pk=pool.pk)
        _leave_out(cursor, pool, preview)
        if not preview.new:
            return ImportResult(None, preview)

        batch = KeyBatch.objects.create(
            pool=pool, key_count=preview.new, file_name=file_name, note=note, imported_by=by, **preview.left_out
        )
        cursor.execute(
            "INSERT INTO pools_licensekey (pool_id, batch_id, position, code, fingerprint, hint)"
            " SELECT %s, %s, %s + place, code, fingerprint, hint FROM upload",
            [pool.pk, batch.pk, pool.next_position],
        )

    # Where a key was left out, none stands: positions only grow, they do not count.
    pool.next_position += preview.keys
    pool.save(update_fields=["next_position"])
    rearm(pool)
    pool_refilled.send(LicensePool, pool=pool)
    return ImportResult(batch, preview)


def _stage(cursor, lines: Iterable[KeyLine], tell: Callable[[int], None], *, with_codes: bool) -> Preview:
    """Copy the keys to a temporary table `upload`, those repeated left out."""
    preview = Preview()
    cursor.execute("SET LOCAL work_mem = '64MB'")
    cursor.execute("DROP TABLE IF EXISTS pg_temp.upload")
    cursor.execute(
        "CREATE TEMPORARY TABLE upload (place integer, line integer, fingerprint bytea, code bytea, hint text)"
        " ON COMMIT DROP"
    )
    # A line may hold several keys, or a key several lines: what orders them is their place.
    names = "place, line, fingerprint, code, hint" if with_codes else "place, line, fingerprint"
    types = ["int4", "int4", "bytea", "bytea", "text"][: len(names.split())]
    keys = _keys(lines, preview)
    count = 0
    while chunk := list(islice(keys, CHUNK)):
        numbers, texts = [line for line, _ in chunk], [key for _, key in chunk]
        places = range(count, count + len(chunk))
        columns: list[Iterable[Any]] = [places, numbers, fingerprints(texts)]
        if with_codes:
            columns += [encrypt_all(texts), list(map(hint, texts))]
        with cursor.copy(f"COPY upload ({names}) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(types)
            for row in zip(*columns, strict=True):
                copy.write_row(row)
        count += len(chunk)
        if count > MAX_KEYS:
            raise KeyFileError(f"There are more than {MAX_KEYS:,} keys in it. Split it, please.")
        tell(count)
    cursor.execute("ANALYZE upload")
    cursor.execute(
        "WITH first AS (SELECT fingerprint, min(place) AS place FROM upload GROUP BY fingerprint HAVING count(*) > 1),"
        " gone AS (DELETE FROM upload USING first"
        " WHERE upload.fingerprint = first.fingerprint AND upload.place > first.place RETURNING upload.line)"
        " SELECT count(*), (array_agg(line ORDER BY line))[:%s] FROM gone",
        [LINES_SHOWN],
    )
    repeated, numbers = cursor.fetchone()
    preview.repeated = Lines(repeated, numbers or [])
    preview.keys, preview.new = count, count - preview.repeated.count
    return preview


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


# Batches afterwards


def undo(batch: KeyBatch, *, by: str) -> None:
    """Take a batch back as if it had never come. Raises ImportRefused once one of its keys was issued or withdrawn."""
    with moved_by(by):
        # Serializes with imports and with whoever else undoes it.
        pool = LicensePool.objects.select_for_update(no_key=True).get(pk=batch.pool_id)
        if not KeyBatch.objects.filter(pk=batch.pk, undone_at=None).update(undone_at=Now(), undone_by=by):
            raise ImportRefused("This import was undone already.")
        # A payment that holds one of the keys is waited for, and then it is issued.
        gone, _ = batch.keys.in_stock().delete()
        if gone != batch.key_count:
            raise ImportRefused(
                f"{batch.key_count - gone:,} of its keys were issued or withdrawn, so it cannot be undone."
                " You can withdraw the rest."
            )
        fill_reserve(pool)  # its newest keys are gone
        transaction.on_commit(lambda: check_stock(pool), robust=True)


def withdraw_rest(batch: KeyBatch, *, by: str) -> int:
    """Take what is left of a batch out of the stock, for good; return how many keys that were."""
    with moved_by(by):
        count = batch.keys.withdraw()
        fill_reserve(batch.pool)
        transaction.on_commit(lambda: check_stock(batch.pool), robust=True)
    return count


class WithdrawalRefused(Exception):
    """The key is not in stock."""


def withdraw_key(key: LicenseKey, *, by: str) -> None:
    """Take one key out of the stock, for good. Raises WithdrawalRefused if it was issued or withdrawn meanwhile."""
    with moved_by(by):
        if not LicenseKey.objects.filter(pk=key.pk).withdraw():
            key.refresh_from_db()
            raise WithdrawalRefused(f"This key is {key.status} already.")
        transaction.on_commit(lambda: check_stock(key.pool), robust=True)
