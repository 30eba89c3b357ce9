"""Reads license keys from the bytes of a file or of a pasted text."""

import codecs
import csv
import io
import re
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain, repeat
from typing import Any, NamedTuple

from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from pools.blocks import Marker, is_prolog, read_marker
from pools.spreadsheets import FIX, KEEP, MAY_BE_SHORTENED, SHORTENED_PROBLEM, is_shortened, restore

MAX_SIZE = 64 * 1024 * 1024  # bytes, unpacked
PIECE_SIZE = 1024 * 1024  # bytes
MAX_KEY_LENGTH = 10_000
MAX_KEYS = 1_000_000
MAX_LINES = 5_000_000
MAX_MEMBERS = 100  # of a gzip file
MAX_ERRORS = 100  # bad lines; enough to see what is wrong

ENCODINGS = {
    "utf-8": "UTF-8",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16, big-endian",
    "windows-1251": "windows-1251 (Cyrillic)",
    "windows-1252": _("windows-1252 (Western European)"),
}
UTF_16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
FORMATS = ["text", "csv"]
# What separates the keys of a text.
SPLITS = ["lines", "empty lines", "blocks", "separator lines", "separators"]
DELIMITERS = {",": _("comma"), ";": _("semicolon"), "\t": _("tab"), "|": _("vertical bar")}

# White space and invisible characters, which we strip from the ends of a key.
STRIPPED = "".join(
    chr(code)
    for first, last in (
        *((0x09, 0x0D), (0x1C, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A)),
        *((0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000)),
        # Soft hyphens, zero-width characters, direction marks, byte order marks
        *((0xAD, 0xAD), (0x61C, 0x61C), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x2069), (0xFEFF, 0xFEFF)),
    )
    for code in range(first, last + 1)
)
# A line like this is part of something longer: "}", "------", "</license>", '"name": "Ada",'.
FRAGMENT = re.compile(r"[\W_]+|\s*</[\w:.-]{1,100}>\s*|\s*\"[^\"]*\"\s*:.*")
MAY_BE_FRAGMENT = re.compile(r"^(?:(?:[^\w\n]|_)+$|[^\S\n]*</|[^\S\n]*\")", re.MULTILINE)
CONTROL = re.compile(r"[\x01-\x08\x0b-\x1f\x7f-\x9f]")


class KeyFileError(Exception):
    """A file of keys can't be imported. `lines` maps line numbers to problems."""

    field = "file"  # the field of the request that has to change

    def __init__(self, message: str, lines: dict[int, str] | None = None):
        super().__init__(message)
        self.lines = lines or {}


class KeyLine(NamedTuple):
    """The content of a line, numbered from 1: a key, nothing, or a problem that says why it can't be a key."""

    number: int
    key: str
    problem: str = ""


# From the upload to text

BINARY = {
    b"%PDF-": _("This is a PDF document. Copy the keys from it and paste them."),
    b"\xd0\xcf\x11\xe0": _("This is an old Excel or Word document. Save it as CSV or plain text and upload that."),
    b"{\\rtf": _("This is a rich text document (RTF). Save it as plain text and upload that."),
    b"7z\xbc\xaf\x27\x1c": _("This is a 7z archive. Extract it and upload the file in it."),
    b"Rar!\x1a": _("This is a RAR archive. Extract it and upload the file in it."),
    b"\xfd7zXZ\0": _("This is an xz archive. Extract it, or compress the file with gzip instead."),
    b"\x28\xb5\x2f\xfd": _("This is a zstd archive. Extract it, or compress the file with gzip instead."),
    b"BZh91AY&SY": _("This is a bzip2 archive. Extract it, or compress the file with gzip instead."),
    b"\x89PNG": _("This is an image. Upload plain text or CSV."),
    b"\xff\xd8\xff": _("This is an image. Upload plain text or CSV."),
    b"\x1f\x8b": _("This file was gzipped twice. Extract it once."),
}
ZIPPED = {
    b"xl/": _("This is an Excel workbook. Save it as CSV and upload that."),
    b"word/": _("This is a Word document. Save it as plain text and upload that."),
    b"opendocument": _("This is a LibreOffice document. Save it as CSV or plain text and upload that."),
}


def unpack(content: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the content in pieces of at most 1 MiB, decompressed if it is a gzip file.

    Raises KeyFileError if it is too long or isn't text.
    """
    head, pieces = _peek(_in_pieces(content))
    if head.startswith(b"\x1f\x8b"):
        head, pieces = _peek(_in_pieces(_gunzip(pieces)))
    _refuse_binary(head)
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_SIZE:
            raise KeyFileError(
                gettext("The text is larger than {size} MiB. Split it.").format(size=MAX_SIZE // 1024**2)
            )
        yield piece


def _in_pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    piece = bytearray()
    for chunk in chunks:
        piece += chunk
        while len(piece) >= PIECE_SIZE:
            yield bytes(piece[:PIECE_SIZE])
            del piece[:PIECE_SIZE]
    if piece:
        yield bytes(piece)


def _peek(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    head = next(pieces, b"")
    return head, chain([head], pieces) if head else pieces


def _gunzip(pieces: Iterator[bytes]) -> Iterator[bytes]:
    unpacker, members = zlib.decompressobj(wbits=31), 1
    try:
        for piece in pieces:
            while piece:
                if unpacker.eof:  # another member, or padding with zeros
                    piece = piece.lstrip(b"\0")
                    if not piece:
                        break
                    unpacker, members = zlib.decompressobj(wbits=31), members + 1
                if members > MAX_MEMBERS:
                    raise KeyFileError(gettext("The gzip file has too many parts. Compress the file again."))
                if unpacked := unpacker.decompress(piece, PIECE_SIZE):
                    yield unpacked
                piece = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
        # Output that didn't fit into the last piece.
        while not unpacker.eof and (unpacked := unpacker.decompress(b"", PIECE_SIZE)):
            yield unpacked
    except zlib.error as error:
        raise KeyFileError(gettext("The gzip file is damaged or followed by other data.")) from error
    if not unpacker.eof:
        raise KeyFileError(gettext("The gzip file is incomplete. Upload it again."))


def _refuse_binary(head: bytes) -> None:
    for magic, message in BINARY.items():
        if head.startswith(magic):
            raise KeyFileError(str(message))
    if head.startswith(b"PK\x03\x04"):
        kinds = (message for mark, message in ZIPPED.items() if mark in head)
        raise KeyFileError(str(next(kinds, gettext("This is a ZIP archive. Extract it and upload the file in it."))))
    start = head[:4096]
    if not looks_like_utf_16(start) and 4 * sum(byte < 9 for byte in start) > len(start):
        raise KeyFileError(gettext("This isn’t a text file. Upload license keys as plain text or CSV."))


def looks_like_utf_16(start: bytes) -> str:
    """Return the UTF-16 encoding, or an empty text.

    It is UTF-16 if it has a byte order mark, or if the upper byte of most characters is zero.
    """
    if start[:2] in UTF_16:
        return UTF_16[start[:2]]
    upper, lower = start[1::2], start[::2]
    if upper.count(0) * 2 > len(upper) > 0 and not lower.count(0):
        return "utf-16-le"
    if lower.count(0) * 2 > len(lower) and not upper.count(0):
        return "utf-16-be"
    return ""


def decode(pieces: Iterable[bytes], encoding: str) -> Iterator[str]:
    """Decode the text. Line ends become line feeds, and invalid bytes become U+FFFD."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(errors="replace"), translate=True)
    is_start = True
    for piece in chain(pieces, [b""]):
        text = decoder.decode(piece, final=not piece)
        if text and is_start:
            text, is_start = text.removeprefix("\ufeff"), False
        yield text


# From text to keys


def read_keys(content: Iterable[bytes], read_as: dict[str, Any]) -> Iterator[KeyLine]:
    """Read the keys of unpacked content with the options from `detect`. Raises KeyFileError if it can't continue."""
    texts = decode(content, read_as["encoding"])
    if read_as["format"] == "csv":
        return _read_csv(texts, read_as)
    if read_as["split"] == "lines":
        return _read_lines(texts, read_as)
    if read_as["split"] == "blocks":
        return _read_blocks(texts, read_as)
    if read_as["split"] == "separators" and read_as["separator"]:
        return _read_between(texts, read_as)
    return _read_paragraphs(texts, read_as)


def is_delimiter_hint(line: str) -> bool:
    """`sep=;` in a first line tells Excel the delimiter."""
    return re.fullmatch(r"sep=.", line.strip()) is not None


def _read_lines(texts: Iterable[str], read_as: dict[str, Any]) -> Iterator[KeyLine]:
    number, is_fixed = 1, read_as.get("spreadsheet") == FIX
    for lines in _lines(texts):
        joined = "".join(lines)
        # Almost all files take this fast path, which reads a million lines per second.
        is_plain = (
            joined.isprintable()
            and "�" not in joined
            and not ("+" in joined and MAY_BE_SHORTENED.search(joined))
            and not _may_have_fragments(lines)
        )
        if is_plain and not is_fixed and max(map(len, lines), default=0) <= MAX_KEY_LENGTH:
            # Takes a third of the time of calling KeyLine for each.
            values = zip(range(number, number + len(lines)), map(str.strip, lines), repeat(""), strict=False)
            yield from map(partial(tuple.__new__, KeyLine), values)
        else:
            for line_number, line in enumerate(lines, start=number):
                yield _to_key(line_number, line, read_as)
        number += len(lines)


def _may_have_fragments(lines: list[str]) -> bool:
    # A fragment doesn't start with a letter or digit.
    starts = "".join([line[:1] for line in lines])
    return not starts.isalnum() and MAY_BE_FRAGMENT.search("\n".join(lines)) is not None


def _lines(texts: Iterable[str]) -> Iterator[list[str]]:
    """Split a text that arrives in pieces: one list of lines per piece. Truncates lines too long to be a key."""
    rest, count = "", 0
    for text in texts:
        *lines, rest = (rest + text).split("\n")
        rest = rest[: MAX_KEY_LENGTH + PIECE_SIZE]
        count += len(lines)
        if count > MAX_LINES:
            raise KeyFileError(
                gettext("The file has more than {max_lines} lines. Split it.").format(max_lines=intcomma(MAX_LINES))
            )
        yield lines
    if rest:
        yield [rest]


def _read_paragraphs(texts: Iterable[str], read_as: dict[str, Any]) -> Iterator[KeyLine]:
    border = read_as["separator"].strip() if read_as["split"] == "separator lines" else ""
    key: list[str] = []
    first = length = 0
    for number, line in enumerate(chain.from_iterable(_lines(texts)), start=1):
        if line.strip() == border:
            if key:
                yield _to_key(first, "\n".join(key), read_as)
            key, length = [], 0
        elif key or line.strip():
            first = first if key else number
            length += len(line)
            if length <= 2 * MAX_KEY_LENGTH or not key:  # enough to report that it is too long
                key.append(line)
    if key:
        yield _to_key(first, "\n".join(key), read_as)


def _read_blocks(texts: Iterable[str], read_as: dict[str, Any]) -> Iterator[KeyLine]:
    """Read keys that have their own begin and end lines. Text between blocks is a problem."""
    block: list[str] = []  # including an XML declaration before it
    opened: Marker | None = None
    first = length = 0
    for number, line in enumerate(chain.from_iterable(_lines(texts)), start=1):
        marker = read_marker(line)
        if opened is None:
            if is_prolog(line):
                block, first = [line], number
            elif marker and marker.is_begin:
                block, first, opened, length = [*block, line], first if block else number, marker, 0
            elif line.strip(STRIPPED):
                yield KeyLine(number, "", gettext("is outside the blocks that have begin and end lines"))
            continue
        if marker == opened:
            yield KeyLine(first, "", gettext("starts a block that has no end"))
            block, first, length = [line], number, 0
            continue
        length += len(line)
        if length <= 2 * MAX_KEY_LENGTH:
            block.append(line)
        if opened.is_ended_by(line):
            yield _to_key(first, "\n".join(block), read_as)
            block, opened = [], None
    if opened:
        yield KeyLine(first, "", gettext("starts a block that has no end"))


def _read_between(texts: Iterable[str], read_as: dict[str, Any]) -> Iterator[KeyLine]:
    separator = read_as["separator"]
    rest, number = "", 1
    for text in chain(texts, [separator]):
        *parts, rest = (rest + text).split(separator)
        for part in parts:
            blank = len(part) - len(part.lstrip())
            yield _to_key(number + part.count("\n", 0, blank), part, read_as)
            number += part.count("\n") + separator.count("\n")
        if len(rest) > 2 * PIECE_SIZE:
            raise KeyFileError(
                gettext("There is no separator after line {number}.").format(number=number),
                {number: gettext("is too long for a key")},
            )


def _read_csv(texts: Iterable[str], read_as: dict[str, Any]) -> Iterator[KeyLine]:
    all_lines = chain.from_iterable(_lines(texts))
    at_end = False

    def lines() -> Iterator[str]:
        nonlocal at_end
        for line in all_lines:
            yield f"{line}\n"
        at_end = True
        # Read as a separate row unless a quotation mark is still open. The csv reader doesn't report that.
        yield "end"

    rows = csv.reader(lines(), delimiter=read_as["delimiter"], strict=False)
    column, header, width, last = read_as["column"], read_as["header"], 0, 0
    titles = read_as.get("titles", 0)
    while True:
        number = last + 1
        try:
            row = next(rows)
        except csv.Error as error:
            raise _unclosed_quote(number) from error
        if at_end and row == ["end"]:
            return
        if at_end:
            raise _unclosed_quote(number)
        last = rows.line_num
        if number == 1 and len(row) and is_delimiter_hint(read_as["delimiter"].join(row)):
            continue
        while width and len(row) > max(width, column) and not row[-1]:
            row.pop()
        if not any(row) or titles:
            titles -= any(row)
            yield KeyLine(number, "")
        elif not width:
            width = len(row)
            if not header:
                yield _cell_to_key(number, row, column, read_as)
        elif len(row) > width:
            yield KeyLine(number, "", gettext("has {row} columns, not {width}").format(row=len(row), width=width))
        else:
            yield _cell_to_key(number, row, column, read_as)


def _unclosed_quote(number: int) -> KeyFileError:
    return KeyFileError(
        gettext("A quotation mark in line {number} isn’t closed, or its value is too long.").format(number=number),
        {number: gettext("opens a quotation mark that isn’t closed, or is too long")},
    )


def _cell_to_key(number: int, row: list[str], column: int, read_as: dict[str, Any]) -> KeyLine:
    if len(row) < column:
        return KeyLine(number, "", gettext("has no column {column}").format(column=column))
    return _to_key(number, row[column - 1], read_as)


def _to_key(number: int, text: str, read_as: dict[str, Any]) -> KeyLine:
    key = text.strip(STRIPPED)
    if "\0" in key:
        return KeyLine(number, "", gettext("contains a NUL character"))
    if "�" in key:
        return KeyLine(number, "", gettext("isn’t {encoding} text").format(encoding=ENCODINGS[read_as["encoding"]]))
    if len(key) > MAX_KEY_LENGTH:
        return KeyLine(
            number, "", gettext("is longer than {max_key_length} characters").format(max_key_length=MAX_KEY_LENGTH)
        )
    if CONTROL.search(key):
        return KeyLine(number, "", gettext("contains a control character"))
    if key and FRAGMENT.fullmatch(key):
        return KeyLine(number, "", gettext("is a separator or part of a document, not a complete key"))
    if read_as.get("spreadsheet") == FIX:
        key = restore(key).strip(STRIPPED)
    if is_shortened(key) and read_as.get("spreadsheet") != KEEP:
        return KeyLine(number, "", str(SHORTENED_PROBLEM))
    return KeyLine(number, key)


# All lines or none


def refuse_bad_lines(lines: Iterable[KeyLine]) -> Iterator[KeyLine]:
    """Yield the lines, then raise KeyFileError if some of them can't be keys, or if there are no keys."""
    errors: dict[int, str] = {}
    has_keys = False
    for line in lines:
        if line.problem:
            errors[line.number] = line.problem
        if len(errors) == MAX_ERRORS:
            break
        has_keys = has_keys or bool(line.key)
        yield line
    if errors:
        raise KeyFileError(gettext("Nothing was imported: some lines aren’t license keys."), errors)
    if not has_keys:
        raise KeyFileError(gettext("Nothing was imported: no license keys found."))
