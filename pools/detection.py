"""Detects how to read an upload from its beginning, where the user chose nothing."""

import csv
import re
from collections import Counter
from collections.abc import Iterable
from itertools import chain, islice
from typing import Any

from django.utils.translation import gettext

from pools.blocks import are_blocks, are_paragraphs
from pools.columns import MAX_LISTED, Column, Heading, choose, find_objection, get_columns, judge_heading, shape
from pools.reading import (
    DELIMITERS,
    STRIPPED,
    UTF_16,
    KeyFileError,
    decode,
    is_delimiter_hint,
    looks_like_utf_16,
    read_keys,
    refuse_bad_lines,
    unpack,
)

HEAD_SIZE = 64 * 1024  # bytes that we examine
MAX_ROWS = 500
MAX_TITLES = 10
# An option that only one format has implies that format.
CSV_OPTIONS, TEXT_OPTIONS = {"delimiter", "column", "header"}, {"split", "separator"}


class ColumnInDoubt(KeyFileError):
    """Several columns may contain the keys, or none seems to. `candidates` describe them without quoting values."""

    field = "column"

    def __init__(self, columns: list[Column], read_as: dict[str, Any]):
        self.candidates = [
            {"column": column.number, "heading": column.name, "about": column.about} for column in columns[:MAX_LISTED]
        ]
        self.read_as = read_as
        listed = "; ".join(f"{column.label} ({column.about})" for column in columns[:MAX_LISTED])
        super().__init__(
            gettext("Which column contains the license keys? Choose its number: {listed}.").format(listed=listed)
        )


def describe_candidate(candidate: dict[str, Any]) -> str:
    name = f" “{candidate['heading']}”" if candidate["heading"] else ""
    return f"{candidate['column']}{name}: {candidate['about']}"


class FormatInDoubt(KeyFileError):
    """A text looks like a table, and no format was chosen."""

    field = "file_format"

    def __init__(self) -> None:
        super().__init__(
            gettext(
                "This looks like a table. Choose the format “csv” to read the keys from one of its columns,"
                " or “text” if each line is a key."
            )
        )


def detect(
    content: Iterable[bytes], options: dict[str, Any], *, file_name: str = "", known: list[str] | None = None
) -> dict[str, Any]:
    """Complete the options from the unpacked content and the keys already in the pool (`known`).

    Returns `encoding` and `format`; for text `split`, and its `separator` if it has one; for CSV `delimiter`,
    `header`, `column` (from 1) and, if we detected the column, `column_name` and `column_because`. Raises
    ColumnInDoubt.
    """
    head, encoding = _detect_encoding(content, options.get("encoding"))
    lines = _get_lines(head, encoding)

    implied = "csv" if options.keys() & CSV_OPTIONS else "text" if options.keys() & TEXT_OPTIONS else ""
    format = options.get("format") or implied or _detect_format(lines, file_name)
    shared = {"encoding": encoding, "format": format}
    if options.get("spreadsheet"):
        shared["spreadsheet"] = options["spreadsheet"]
    if format == "text":
        split = options.get("split") or (
            "separator lines" if options.get("separator") else _detect_split(head, encoding)
        )
        return shared | {"split": split, "separator": options.get("separator", "")}

    delimiter = options.get("delimiter") or _detect_delimiter(lines)
    rows = [row for row in _rows(lines, delimiter) if any(row)]
    titles = count_titles(rows)
    rows = rows[titles:]
    header = options.get("header")
    if header is None:
        header = _has_header(rows)
    read_as = shared | {"delimiter": delimiter, "header": header} | ({"titles": titles} if titles else {})
    if options.get("column"):
        return read_as | {"column": options["column"]}
    columns = get_columns(rows, header=header, known=known or [])
    column, because = choose(columns)
    if column is None and columns:
        raise ColumnInDoubt(columns, read_as)
    found = {"column": column.number, "column_name": column.name} if column else {"column": 1, "column_name": ""}
    return read_as | found | {"column_because": because}


def _detect_split(head: bytes, encoding: str) -> str:
    if are_blocks(_get_lines(head, encoding)):
        return "blocks"
    return "empty lines" if are_paragraphs(_get_all_lines(head, encoding)) else "lines"


def _get_lines(head: bytes, encoding: str) -> list[str]:
    return [line for line in _get_all_lines(head, encoding) if line.strip()]


def _get_all_lines(head: bytes, encoding: str) -> list[str]:
    text = "".join(decode([head], encoding))
    if len(head) == HEAD_SIZE:
        text = text.rpartition("\n")[0] or text  # the last line may be incomplete
    return list(islice(text.split("\n"), MAX_ROWS))


def _detect_encoding(content: Iterable[bytes], chosen: str | None) -> tuple[bytes, str]:
    """Return the beginning of the content and its encoding.

    That is UTF-16 if it looks like it, windows-1251 if most non-ASCII characters are invalid UTF-8, or UTF-8.
    """
    pieces = iter(content)
    first = next(pieces, b"")
    head = first[:HEAD_SIZE]
    if known := chosen or looks_like_utf_16(head[:4096]):
        return head, known

    good = bad = 0
    for text in decode(chain([first], pieces), "utf-8"):
        if not text.isascii():
            undecoded = text.count("�")
            bad += undecoded
            good += len(text) - len(text.encode("ascii", "ignore")) - undecoded
    return head, "windows-1251" if bad > good else "utf-8"


def _detect_format(lines: list[str], file_name: str) -> str:
    """Detect a table by its file name, its first line, or columns that can't be keys. The default is text."""
    if has_table_name(file_name) or _has_headings(lines[:1]):
        return "csv"
    if are_blocks(lines):
        return "text"
    if _opens_cell(lines):
        return "csv"
    tabs = {line.strip(STRIPPED).count("\t") for line in lines}
    if len(lines) > 1 and len(tabs) == 1 and tabs != {0}:
        return "csv"
    return "csv" if any(_is_table(lines, delimiter) for delimiter in DELIMITERS) else "text"


def has_table_name(file_name: str) -> bool:
    return file_name.lower().removesuffix(".gz").endswith((".csv", ".tsv"))


def _has_headings(lines: list[str]) -> bool:
    """Whether the first line has the headings of several columns, one of them for keys."""
    if not lines or any(map(str.isdigit, lines[0])):
        return False
    rows = [_rows(lines, delimiter)[:1] for delimiter in DELIMITERS]
    return any(len(row) > 1 and max(map(judge_heading, row)) > Heading.NOTHING for found in rows for row in found)


def _opens_cell(lines: list[str]) -> bool:
    """Whether the first line opens a quotation mark that a later one closes: a cell with line breaks."""
    first, *others = lines or [""]
    return first.startswith('"') and first.count('"') % 2 == 1 and any(line.rstrip().endswith('"') for line in others)


def _is_table(lines: list[str], delimiter: str) -> bool:
    """Whether all lines have the same number of cells, and some columns can contain keys and some can't."""
    if len(lines) < 3 or not all(delimiter in line and line[0] not in "{[<" for line in lines):
        return False
    rows = _rows(lines, delimiter)
    if len(set(map(len, rows))) > 1:
        return False
    objections = [
        find_objection([value for value in values if value], len(rows)) for values in zip(*rows, strict=True)
    ]
    return any(objections) and not all(objections)


def _detect_delimiter(lines: list[str]) -> str:
    """Choose the delimiter that splits the most lines into the same number of cells, at least two."""
    if lines and (hint := re.fullmatch(r"sep=([,;\t|])", lines[0].strip())):
        return hint[1]

    def fitness(delimiter: str) -> tuple[int, int]:
        widths = Counter(len(row) for row in _rows(lines, delimiter) if len(row) > 1)
        [(width, count)] = widths.most_common(1) or [(0, 0)]
        return count, width

    return max(DELIMITERS, key=fitness)


def _rows(lines: list[str], delimiter: str) -> list[list[str]]:
    try:
        rows = list(csv.reader((f"{line}\n" for line in lines), delimiter=delimiter))
    except csv.Error:
        rows = [line.split(delimiter) for line in lines]
    return rows[1:] if rows and is_delimiter_hint(lines[0]) else rows


def count_titles(rows: list[list[str]]) -> int:
    """Count the rows with a single cell above the headings, such as the title of a report."""
    for number, row in enumerate(rows[:MAX_TITLES]):
        if len([cell for cell in row if cell.strip()]) > 1:
            is_heading = any(judge_heading(cell) == Heading.KEYS for cell in row)
            return number if is_heading else 0
    return 0


def _has_header(rows: list[list[str]]) -> bool:
    """Whether the first row has headings, or is the only one without a digit."""
    if not rows:
        return False
    first, others = rows[0], [" ".join(row) for row in rows[1:]]
    shapes = {shape(cell) for row in rows[1:] for cell in row}
    if any(map(str.isdigit, " ".join(first))):
        # A heading such as “License key 2”, unless keys have the same shape.
        named = [cell for cell in first if judge_heading(cell) == Heading.KEYS and re.match(r"[^\W\d]+ ", cell)]
        return bool(others and named) and not shapes & set(map(shape, named))
    if any(judge_heading(cell) != Heading.NOTHING for cell in first):
        return True
    # One of a hundred keys has no digit by chance, but the groups of the others.
    is_key = any(re.search(r"\w\W\w", cell) and shape(cell) in shapes for cell in first)
    return bool(others) and not is_key and all(any(map(str.isdigit, row)) for row in others)


def get_column_names(content: Iterable[bytes], read_as: dict[str, Any]) -> list[str]:
    rows = get_rows(content, read_as)
    if not rows:
        return []
    names = rows[0] if read_as["header"] else [""] * len(rows[0])
    return [f"{number}: {name.strip()[:40]}" if name.strip() else f"{number}" for number, name in enumerate(names, 1)]


def get_rows(content: Iterable[bytes], read_as: dict[str, Any]) -> list[list[str]]:
    if read_as["format"] != "csv":
        return []
    head = next(iter(content), b"")[:HEAD_SIZE]
    rows = _rows(_get_lines(head, read_as["encoding"])[:20], read_as["delimiter"])
    return [row for row in rows if any(row)][read_as.get("titles", 0) :]


# Imports without a preview


def apply_defaults(content: Iterable[bytes], options: dict[str, Any], *, file_name: str = "") -> dict[str, Any]:
    """Add the defaults to the options: UTF-8, or UTF-16 with a byte order mark, and one key per line.

    Raises FormatInDoubt if that would import the lines of a table as keys.
    """
    head = next(iter(content), b"")[:HEAD_SIZE]
    encoding = options.get("encoding") or UTF_16.get(head[:2], "utf-8")
    known = {"encoding": encoding} | options
    if "format" in options or options.keys() & TEXT_OPTIONS:
        return {"format": "text"} | known
    if options.keys() & CSV_OPTIONS or has_table_name(file_name):
        return {"format": "csv"} | known
    if _detect_format(_get_lines(head, encoding), "") == "csv":
        raise FormatInDoubt
    return {"format": "text"} | known


def parse_keys(content: bytes, options: dict[str, Any] | None = None) -> list[str]:
    """Return the keys. Raises KeyFileError with the lines that can't be keys, if there are any."""
    pieces = list(unpack([content]))
    read_as = detect(pieces, apply_defaults(pieces, options or {}))
    return [line.key for line in refuse_bad_lines(read_keys(pieces, read_as)) if line.key]
