"""The steps of an import: upload, read, preview, confirm, import."""

import contextlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext
from redis.exceptions import RedisError

from pools.detection import ColumnInDoubt, apply_defaults, detect, get_column_names, get_rows
from pools.imports import Preview, import_lines, preview_keys
from pools.models import KeyImport, KeyImportPart, LicensePool, UploadLink
from pools.reading import KeyFileError, KeyLine, read_keys, refuse_bad_lines, unpack
from pools.signals import import_due
from pools.warnings import KeyWarnings, describe_lines
from work.refusals import Refused
from work.stored_texts import in_english
from work.valkey import valkey

MAX_SYNCHRONOUS = 256 * 1024  # bytes; larger uploads are processed by a worker
MAX_SAMPLES = 5  # keys shown in a preview
MAX_ATTEMPTS = 20
MAX_READY = 20  # unconfirmed imports per pool; we discard the oldest ones
READY_RETENTION = timedelta(days=1)  # unconfirmed imports are discarded after this


class ImportRefused(Refused):
    code = "import_refused"


class LinkExpired(Exception):
    """An upload link was used or has expired."""


def begin(
    pool: LicensePool,
    content: Iterable[bytes],
    *,
    actor: str,
    file_name: str = "",
    note: str = "",
    options: dict[str, Any] | None = None,
    link: UploadLink | None = None,
    confirmed: bool = False,
    read_as: dict[str, Any] | None = None,
) -> KeyImport:
    """Store an upload and read it, immediately if it is small. An unreadable upload gets the status `refused`.

    With `confirmed`, import it without a preview. If a person has reviewed it before, read with the options
    `read_as`, lines that can't be keys are skipped; otherwise one such line refuses the whole import.
    """
    key_import = KeyImport(
        pool=pool, size=0, file_name=_clean(file_name)[-255:], note=_clean(note)[:500], uploaded_by=actor, link=link
    )
    key_import.options = options or {}
    if read_as:
        key_import.preview = {"read_as": read_as, "warnings": []}
    if confirmed:
        key_import.status, key_import.confirmed_at, key_import.confirmed_by = KeyImport.Status.IMPORTING, Now(), actor
    with transaction.atomic():
        key_import.save()
        try:
            with in_english(), transaction.atomic():
                for number, part in enumerate(unpack(content)):
                    KeyImportPart.objects.create(key_import=key_import, number=number, content=part)
                    key_import.size += len(part)
        except KeyFileError as error:
            key_import.status, key_import.error, key_import.size = KeyImport.Status.REFUSED, str(error), 0
        key_import.save(update_fields=["status", "error", "size"])
    if key_import.status == KeyImport.Status.REFUSED:
        return key_import
    key_import = _process(key_import)
    for surplus in pool.imports.filter(status=KeyImport.Status.READY).order_by("-pk")[MAX_READY:]:
        discard(surplus)
    return key_import


def _clean(text: str) -> str:
    """Remove control and formatting characters: PostgreSQL rejects some, and others change how text is displayed."""
    return "".join(character for character in text if character.isprintable())


def read_again(key_import: KeyImport, options: dict[str, Any]) -> KeyImport:
    """Read the upload with other options. Raises ImportRefused if it is already being processed."""
    changed = KeyImport.objects.filter(pk=key_import.pk, status__in=[KeyImport.Status.READY, KeyImport.Status.REFUSED])
    if not changed.update(status=KeyImport.Status.READING, options=options, preview={}, error="", attempts=0):
        raise ImportRefused(gettext("This import is already {status}.").format(status=gettext(key_import.status)))
    return _process(key_import)


def confirm(key_import: KeyImport, *, actor: str) -> KeyImport:
    """Import the previewed keys, immediately if the upload is small. Raises ImportRefused if it isn't `ready`."""
    ready = KeyImport.objects.filter(pk=key_import.pk, status=KeyImport.Status.READY)
    if not ready.update(status=KeyImport.Status.IMPORTING, confirmed_at=Now(), confirmed_by=actor, attempts=0):
        key_import.refresh_from_db(fields=["status"])
        raise ImportRefused(gettext("This import is already {status}.").format(status=gettext(key_import.status)))
    return _process(key_import)


def discard(key_import: KeyImport) -> None:
    """Delete the upload, unless it has been confirmed or has ended."""
    with transaction.atomic():
        unfinished = KeyImport.objects.filter(pk=key_import.pk, status__in=KeyImport.OPEN)
        if unfinished.exclude(status=KeyImport.Status.IMPORTING).update(
            status=KeyImport.Status.DISCARDED, ended_at=Now()
        ):
            KeyImportPart.objects.filter(key_import=key_import).delete()


def discard_old_imports() -> None:
    waiting = KeyImport.objects.filter(status__in=KeyImport.OPEN, uploaded_at__lt=Now() - READY_RETENTION)
    for key_import in waiting.exclude(status=KeyImport.Status.IMPORTING):
        discard(key_import)


def _process(key_import: KeyImport) -> KeyImport:
    if key_import.size <= MAX_SYNCHRONOUS:
        with in_english():
            work_on(key_import.pk)
    else:
        import_due.send(KeyImport, key_import=key_import)
    key_import.refresh_from_db()
    return key_import


def work_on(pk: int) -> None:
    """Do the next step of an import: read it, or import its keys. Does nothing if another process is working on it."""
    with transaction.atomic():
        key_import = _lock(pk)
        if key_import is None:
            return
        key_import.attempts += 1
        key_import.save(update_fields=["attempts"])
        if key_import.attempts > MAX_ATTEMPTS:
            _end(
                key_import,
                KeyImport.Status.FAILED,
                gettext(
                    "Reading this import failed several times. Upload the file again. If that fails too,"
                    " contact support."
                ),
            )
            return

    # The row lock serves as a lease, which ends if this process dies.
    with transaction.atomic():
        key_import = _lock(pk)
        if key_import is None:
            return
        if key_import.status == KeyImport.Status.READING:
            _read(key_import)
        else:
            _import(key_import)


def _lock(pk: int) -> KeyImport | None:
    return (
        KeyImport.objects.select_for_update(skip_locked=True, of=["self"])
        .select_related("pool")
        .filter(pk=pk, status__in=[KeyImport.Status.READING, KeyImport.Status.IMPORTING])
        .first()
    )


def _read(key_import: KeyImport) -> None:
    # Someone with an upload link must not learn anything about the pool's keys.
    pool = None if key_import.link_id else key_import.pool
    warnings, read_as = KeyWarnings(pool), {}
    try:
        read_as = detect(
            key_import.parts.read(), key_import.options, file_name=key_import.file_name, known=warnings.earlier
        )
        with transaction.atomic():
            lines = warnings.watch(read_keys(key_import.parts.read(), read_as))
            # A worker imports large uploads; to keep the keys of others costs more than to read them twice.
            kept = key_import if key_import.size > MAX_SYNCHRONOUS else None
            preview = preview_keys(key_import.pool, lines, progress=_Progress(key_import), keep_for=kept)
            key_import.is_staged = kept is not None
    except KeyFileError as error:
        key_import.status = KeyImport.Status.REFUSED
        key_import.error, key_import.preview = str(error)[:500], describe_error(error, read_as)
    else:
        preview.read_as, preview.warnings, preview.fixable = read_as, get_warnings(warnings, preview), warnings.fixable
        key_import.status, key_import.preview = KeyImport.Status.READY, asdict(preview)
    key_import.save(update_fields=["status", "error", "preview", "is_staged"])


def get_warnings(warnings: KeyWarnings, preview: Preview) -> list[str]:
    """Describe what a person should check before importing. Quotes no keys."""
    kinds = [(preview.similar, gettext("earlier lines"))]
    if warnings.pool:
        kinds.append((preview.similar_in_pool, gettext("keys of this pool")))
    return warnings.describe() + [
        gettext(
            "{count}: same as {others} except for case, spaces or punctuation. They may be the same license."
        ).format(count=describe_lines(lines.count, lines.numbers), others=others)
        for lines, others in kinds
        if lines.count
    ]


def describe_error(error: KeyFileError, read_as: dict[str, Any]) -> dict[str, Any]:
    described = {"problems": error.lines, "field": error.field, "read_as": read_as}
    if isinstance(error, ColumnInDoubt):
        described |= {"candidates": error.candidates, "read_as": error.read_as}
    return described


def _import(key_import: KeyImport) -> None:
    reviewed = key_import.preview
    warnings = KeyWarnings(key_import.pool)
    read_as: dict[str, Any] = {}
    try:
        read_as = reviewed["read_as"] if reviewed else _detect_without_preview(key_import, warnings.earlier)
        lines = read_keys(key_import.parts.read(), read_as)
        result = import_lines(
            key_import.pool,
            lines if reviewed else refuse_bad_lines(warnings.watch(lines)),
            actor=key_import.confirmed_by,
            file_name=key_import.file_name,
            note=key_import.note,
            progress=_Progress(key_import),
            kept_for=key_import,
        )
    except KeyFileError as error:
        key_import.preview = describe_error(error, read_as)
        _end(key_import, KeyImport.Status.FAILED, str(error)[:500])
        return
    result.preview.read_as = read_as
    result.preview.warnings = reviewed["warnings"] if reviewed else get_warnings(warnings, result.preview)
    key_import.batch, key_import.preview = result.batch, asdict(result.preview)
    _end(key_import, KeyImport.Status.IMPORTED)


def _detect_without_preview(key_import: KeyImport, known: list[str]) -> dict[str, Any]:
    options = apply_defaults(key_import.parts.read(), key_import.options, file_name=key_import.file_name)
    return detect(key_import.parts.read(), options, file_name=key_import.file_name, known=known)


def _end(key_import: KeyImport, status: KeyImport.Status, error: str = "") -> None:
    key_import.status, key_import.error, key_import.ended_at = status, error, Now()
    key_import.save(update_fields=["status", "error", "preview", "batch", "ended_at"])
    key_import.parts.all().delete()


@dataclass
class ImportSample:
    """Samples from the beginning of an upload, for people who may see its keys."""

    columns: list[str] = field(default_factory=list)  # of a CSV
    candidates: list[dict[str, Any]] = field(default_factory=list)  # columns that may contain the keys, with `samples`
    first: list[KeyLine] = field(default_factory=list)
    special: list[KeyLine] = field(default_factory=list)  # non-ASCII lines, which show whether the encoding is right


def take_sample(key_import: KeyImport) -> ImportSample:
    """Take samples from the first megabyte, read with the detected options."""
    read_as, first_part = key_import.preview.get("read_as"), key_import.parts.filter(number=0).first()
    if not read_as or first_part is None:
        return ImportSample()
    content = [bytes(first_part.content)]
    sample = ImportSample(columns=get_column_names(content, read_as))
    if candidates := key_import.preview.get("candidates"):
        rows = get_rows(content, read_as)[int(read_as["header"]) :]
        for candidate in candidates:
            cells = (row[candidate["column"] - 1] for row in rows if len(row) >= candidate["column"])
            sample.candidates.append(candidate | {"samples": [cell for cell in cells if cell.strip()][:3]})
        return sample
    with contextlib.suppress(KeyFileError):
        for line in read_keys(content, read_as):
            if line.key and len(sample.first) < MAX_SAMPLES:
                sample.first.append(line)
            elif not line.key.isascii() and len(sample.special) < MAX_SAMPLES:
                sample.special.append(line)
            if len(sample.first) == len(sample.special) == MAX_SAMPLES:
                break
    return sample


# Progress in percent, kept in Valkey, because it must be visible before the transaction commits. It may get lost.

PROGRESS = "keywell:import:{0.pk}:{0.status}"


class _Progress:
    def __init__(self, key_import: KeyImport):
        self.name = PROGRESS.format(key_import)
        # The number of keys is known once the upload has been read. Until then, we assume 20 bytes per key.
        self.total = key_import.preview.get("keys") or key_import.size / 20

    def __call__(self, lines: int) -> None:
        with contextlib.suppress(RedisError):
            valkey().set(self.name, min(99, int(90 * lines / self.total)), ex=3600)


def get_progress(key_import: KeyImport) -> int | None:
    """Progress in percent, or None if unknown."""
    try:
        value: Any = valkey().get(PROGRESS.format(key_import))
    except RedisError:
        return None
    return None if value is None else int(value)


def read_again_by_link(key_import: KeyImport, link: UploadLink, changed: dict[str, Any]) -> None:
    """Read the upload with the options that the user chose. Raises LinkExpired."""
    _require_active(link)
    with contextlib.suppress(ImportRefused):  # it is already being processed, and its page says so
        read_again(key_import, key_import.options | changed)


def confirm_by_link(key_import: KeyImport, link: UploadLink) -> None:
    """Confirm an import through its upload link. Raises LinkExpired if the link was used or has expired."""
    _require_active(link)
    try:
        with transaction.atomic():
            # Only one of two concurrent requests gets past this update.
            unused = UploadLink.objects.filter(pk=link.pk, used_at=None, expires_at__gt=Now())
            if not unused.update(used_at=Now()):
                raise LinkExpired
            confirm(key_import, actor=key_import.uploaded_by)
    except ImportRefused:
        return  # it isn't ready or was discarded, and its page says so
    for other in link.imports.filter(status__in=KeyImport.OPEN).exclude(pk=key_import.pk):
        discard(other)


def _require_active(link: UploadLink) -> None:
    if not UploadLink.objects.active().filter(pk=link.pk).exists():
        raise LinkExpired
