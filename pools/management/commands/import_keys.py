import sys
import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from pools.detection import describe_candidate
from pools.models import KeyImport, LicensePool
from pools.reading import DELIMITERS, ENCODINGS, FORMATS, SPLITS
from pools.spreadsheets import WAYS
from pools.uploads import ImportRefused, begin, confirm, discard, work_on

READING = ("encoding", "format", "split", "separator", "delimiter", "column", "spreadsheet")


class Command(BaseCommand):
    help = (
        "Import license keys from a file into a pool and print the result. If a line can't be a key, nothing is"
        " imported. Works without a running worker."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("pool", help="ID or name of the pool")
        parser.add_argument("file", help="text or CSV file, optionally gzipped; - reads standard input")
        parser.add_argument("--merchant", help="slug of the merchant that owns the pool")
        parser.add_argument("--note", default="", help="note to find the batch by")
        parser.add_argument("--dry-run", action="store_true", help="print the preview without importing")
        parser.add_argument("--skip-bad-lines", action="store_true", help="skip lines that can't be keys")
        reading = parser.add_argument_group("file format (detected by default)")
        reading.add_argument("--encoding", choices=ENCODINGS)
        reading.add_argument("--format", choices=FORMATS)
        reading.add_argument("--split", choices=SPLITS, help="what separates the keys in a text file")
        reading.add_argument("--separator")
        reading.add_argument("--delimiter", choices=DELIMITERS, help="separator between CSV columns")
        reading.add_argument(
            "--column", type=int, choices=range(1, 1001), metavar="N", help="CSV column with the keys, from 1"
        )
        reading.add_argument(
            "--spreadsheet",
            choices=WAYS,
            help="fix removes formatting that a spreadsheet added; keep also imports shortened numbers",
        )
        reading.add_argument("--header", choices=["yes", "no"], help="whether the first CSV row has headings")

    def handle(self, *, pool: str, file: str, merchant: str | None, note: str, dry_run: bool, **options: Any) -> None:
        if (options["split"] or "").startswith("separator") and not options["separator"]:
            raise CommandError("This split needs a separator. Set it with --separator.")
        found = find_pool(pool, merchant)
        header = {"header": options["header"] == "yes"} if options["header"] else {}
        read_as = {name: options[name] for name in READING if options[name] is not None} | header
        key_import = upload(found, file, note=note, options=read_as)
        self.describe(key_import)
        if key_import.status != KeyImport.Status.READY:
            discard(key_import)
            raise CommandError(f"Nothing was imported. {key_import.error}")
        if dry_run:
            discard(key_import)
            return
        if key_import.preview["problems"] and not options["skip_bad_lines"]:
            discard(key_import)
            raise CommandError("Nothing was imported: some lines aren’t license keys.")

        try:
            confirm(key_import, actor="import_keys")
        except ImportRefused as error:
            raise CommandError(str(error)) from error
        finish(key_import)
        if key_import.status != KeyImport.Status.IMPORTED:
            raise CommandError(f"Nothing was imported. {key_import.error}")
        self.stdout.write(f"Imported {key_import.preview['new']:,} keys into the pool {found.name}.")

    def describe(self, key_import: KeyImport) -> None:
        preview = key_import.preview
        for line, problem in sorted((int(line), problem) for line, problem in preview.get("problems", {}).items()):
            self.stderr.write(f"Line {line} {problem}.")
        for candidate in preview.get("candidates", []):
            self.stderr.write(f"--column {describe_candidate(candidate)}")
        if "keys" not in preview:
            return
        read_as = dict(preview["read_as"])
        name, because = read_as.pop("column_name", ""), read_as.pop("column_because", "")
        settings = ", ".join(f"{name} {value!r}" for name, value in read_as.items() if value not in ("", None))
        self.stdout.write(f"Read with {settings}.")
        if because:
            self.stdout.write(f"Using column {read_as['column']}{f' “{name}”' if name else ''} for keys: {because}.")
        self.stdout.write(f"{preview['keys']:,} keys, {preview['new']:,} new.")
        for kind in ("repeated", "already_in_pool", "already_in_other_pools", "unusable", "empty"):
            if count := preview[kind]["count"]:
                lines = ", ".join(map(str, preview[kind]["numbers"][:10]))
                self.stdout.write(f"{kind.replace('_', ' ')}: {count:,} (line {lines}{' …' if count > 10 else ''})")
        for warning in preview["warnings"]:
            self.stdout.write(f"Warning: {warning}")


def find_pool(pool: str, merchant: str | None) -> LicensePool:
    pools = LicensePool.objects.filter(merchant__slug=merchant) if merchant else LicensePool.objects.all()
    # A test pool has the name of its live pool.
    named = pools if merchant else pools.filter(live=None)
    found = list(pools.filter(pk=int(pool)) if pool.isdecimal() else named.filter(name=pool))
    if len(found) != 1:
        problem = "Several merchants have a" if found else "There is no"
        raise CommandError(f"{problem} pool {pool}.{' Choose one with --merchant.' if found else ''}")
    return found[0]


def upload(pool: LicensePool, file: str, *, note: str, options: dict[str, Any]) -> KeyImport:
    details: dict[str, Any] = {"actor": "import_keys", "note": note, "options": options}
    if file == "-":
        key_import = begin(pool, iter(lambda: sys.stdin.buffer.read(1024 * 1024), b""), **details)
    else:
        try:
            with Path(file).open("rb") as opened:
                chunks = iter(lambda: opened.read(1024 * 1024), b"")
                key_import = begin(pool, chunks, file_name=Path(file).name, **details)
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}") from error
    return finish(key_import)


def finish(key_import: KeyImport) -> KeyImport:
    """Read the file or import the keys. If a worker is already doing that, wait for it."""
    while key_import.status in {KeyImport.Status.READING, KeyImport.Status.IMPORTING}:
        work_on(key_import.pk)
        key_import.refresh_from_db()
        if key_import.status in {KeyImport.Status.READING, KeyImport.Status.IMPORTING}:
            time.sleep(0.5)
    return key_import
