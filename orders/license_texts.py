"""Recognizes a license by its letters and digits, or by the last of them, however people write it."""

import re
import string
import unicodedata

from vault.fingerprints import fingerprint, fingerprints

HINT_LENGTH = 4
# Four characters of a short license would reveal too much.
MIN_HINTED, MIN_HINTED_LETTERS = 12, 8

# Markers such as "-----END LICENSE-----", "=== LICENSE END ===" and "</license>" are the same in every license.
FRAMES = "-=*~_+<>#"
BEGIN, END = {"begin", "start"}, {"end", "stop"}
MAX_MARKER = 200
CLOSING_TAGS = re.compile(r"(?:</[\w:.-]{1,100}>\s{0,9})+$")
# ASCII, except the line feed.
PUNCTUATION = bytes(code for code in range(128) if code != 10 and not chr(code).isalnum())
UNIFY = bytes.maketrans(string.ascii_uppercase.encode(), string.ascii_lowercase.encode())
FILE_EXTENSION = re.compile(r"(?<=[\w-])(?:\.[a-z]\w{0,4}){1,2}$", re.IGNORECASE)


def letters(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return re.sub(r"[\W_]+", "", text.casefold())


def loose_fingerprint(text: str) -> bytes | None:
    """Return the same digest for texts that differ only in case, white space and punctuation.

    None if the text has no letter or digit.
    """
    core = letters(text)
    return fingerprint(core) if core else None


def loose_fingerprints(texts: list[str]) -> list[bytes | None]:
    cores = _ascii_cores(texts, UNIFY) or list(map(letters, texts))
    return [digest if core else None for core, digest in zip(cores, fingerprints(cores), strict=True)]


def _ascii_cores(texts: list[str], table: bytes | None = None) -> list[str]:
    """Return the letters and digits of each text, translated with the table; empty unless each is one line of ASCII.

    Takes a twentieth of the time of a regular expression for each.
    """
    joined = "\n".join(texts)
    if not joined.isascii() or joined.count("\n") >= len(texts):
        return []
    return joined.encode().translate(table, PUNCTUATION).decode().split("\n")


def split_marker(line: str) -> tuple[str, list[str]] | None:
    """Return the frame and lower-case words of a line such as `-----BEGIN LICENSE-----`; None for other lines."""
    text = line.strip().lstrip("#/; ") if len(line) <= MAX_MARKER else ""
    frame = text[:1]
    if not frame or frame not in FRAMES or not (text.startswith(2 * frame) and text.endswith(2 * frame)):
        return None
    words = text.strip(frame).casefold().split()
    return (frame, words) if words and (BEGIN | END) & {words[0], words[-1]} else None


def distinctive(code: str) -> str:
    """Remove what all licenses share: marker lines, closing tags, and the file extension of a link."""
    text = code.strip()
    if text[-1:] in FRAMES:
        text = "\n".join(line for line in text.split("\n") if not split_marker(line))
        text = CLOSING_TAGS.sub("", text).strip()
    return FILE_EXTENSION.sub("", text) if re.match(r"https?://", text) else text


def hint(code: str) -> str:
    """Return the last four distinctive letters and digits; empty for a short license."""
    found = re.sub(r"[\W_]+", "", distinctive(code))
    is_long = len(code.strip()) >= MIN_HINTED and len(found) >= MIN_HINTED_LETTERS
    return found[-HINT_LENGTH:] if is_long else ""


def hints(texts: list[str]) -> list[str]:
    """Return the hint of each text. Takes a sixth of the time for lines of ASCII that start and end plainly."""
    cores = _ascii_cores(texts)
    if not cores:
        return list(map(hint, texts))
    return [
        core[-HINT_LENGTH:]
        # Without a marker, closing tag or address, all letters and digits are distinctive.
        if len(core) >= MIN_HINTED_LETTERS
        and len(text) >= MIN_HINTED
        and text[-1] == core[-1]
        and " " < text[0] != "h"
        else hint(text)
        for text, core in zip(texts, cores, strict=True)
    ]
