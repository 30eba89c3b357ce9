"""Recognizes a license by its letters and digits, or by the last of them, however people write it."""

import re
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
    cores = list(map(letters, texts))
    return [digest if core else None for core, digest in zip(cores, fingerprints(cores), strict=True)]


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
