"""From the bytes of a file, or of a pasted text, to license keys."""

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

MAX_KEY_LENGTH = 10_000
MAX_KEYS = 1_000_000
MAX_ERRORS = 100  # so many bad lines are enough to see what is wrong


NEWLINE = re.compile(r"\r\n|\r(?!\Z)|\n")


class KeyFileError(Exception):
    """A file of keys cannot be read, or not as it is. `lines` maps line numbers to what is wrong there."""

    def __init__(self, message: str, lines: dict[int, str] | None = None):
        super().__init__(message)
        self.lines = lines or {}


class KeyLine(NamedTuple):
    """What stands at a line, by its number from 1: a key, nothing, or what cannot be a key and why."""

    number: int
    key: str
    problem: str = ""


def read_keys(chunks: Iterable[bytes], options: dict[str, Any]) -> Iterator[KeyLine]:
    """The lines of a content that comes in pieces. Raises KeyFileError where it cannot go on."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
    rest, number = "", 0
    for chunk in chunks:
        *lines, rest = NEWLINE.split(rest + decoder.decode(chunk))
        for text in lines:
            number += 1
            yield _to_key(number, text)
    if rest := rest + decoder.decode(b"", final=True):
        yield _to_key(number + 1, rest.removesuffix("\r"))


def _to_key(number: int, text: str) -> KeyLine:
    key = text.strip()
    if "\0" in key:
        return KeyLine(number, "", "holds a NUL character")
    if "�" in key:
        return KeyLine(number, "", "is not UTF-8 text")
    if len(key) > MAX_KEY_LENGTH:
        return KeyLine(number, "", f"is longer than {MAX_KEY_LENGTH} characters")
    return KeyLine(number, key)


def parse_keys(content: bytes) -> list[str]:
    """Return the keys of a content all of whose lines can be keys, or raise KeyFileError naming those that cannot."""
    keys: list[str] = []
    errors: dict[int, str] = {}
    for line in read_keys([content], {}):
        if line.problem:
            errors[line.number] = line.problem
        elif line.key:
            keys.append(line.key)
        if len(errors) == MAX_ERRORS or len(keys) > MAX_KEYS:
            break
    if errors:
        raise KeyFileError("Nothing was imported: some lines are no license keys.", errors)
    if not keys:
        raise KeyFileError("Nothing was imported: there is no license key in it.")
    if len(keys) > MAX_KEYS:
        raise KeyFileError(f"Nothing was imported: there are more than {MAX_KEYS} keys.")
    return keys
