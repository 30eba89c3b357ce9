"""Keys of several lines with begin and end markers, as in PEM (RFC 7468)."""

import re
from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from orders.license_texts import BEGIN, END, split_marker

TAG = re.compile(r"\s*<(?P<name>[A-Za-z][\w:.-]*)(?:\s[^<>]*)?>\s*")
MAX_TAG = 2000
LABEL = re.compile(r"\s*([^\W\d][\w .-]{0,40}?)\s*[:=]")
# "BEGIN LICENSES" starts a list of keys, not a key.
LISTS = {"keys", "licenses", "licences", "codes", "serials", "list", "lizenzen", "schlüssel", "file"}


class Marker(NamedTuple):
    """The first or last line of a block.

    For example `-----BEGIN LICENSE-----`, `=== LICENSE START ===`, `<license id="1">` or `{`.
    """

    is_begin: bool
    label: str

    def is_ended_by(self, line: str) -> bool:
        if self.label.startswith("<"):
            return line.rstrip().endswith(f"</{self.label[1:]}>")
        if self.label == "{":  # nested braces are indented
            return line.rstrip() == "}"
        end = read_marker(line)
        return end is not None and not end.is_begin and self.label.startswith(end.label)


def read_marker(line: str) -> Marker | None:
    if line.rstrip() == "{":
        return Marker(True, "{")
    if len(line) <= MAX_TAG and (tag := TAG.fullmatch(line)):
        return Marker(True, f"<{tag['name']}")
    if (found := split_marker(line)) is None:
        return None
    frame, words = found
    is_begin = bool(BEGIN & {words[0], words[-1]})
    return Marker(is_begin, frame + " ".join(word for word in words if word not in (BEGIN if is_begin else END)))


def is_prolog(line: str) -> bool:
    """Whether this is an XML declaration, which is part of the block that follows it."""
    return line.strip().startswith("<?xml") and line.strip().endswith("?>")


def are_blocks(lines: Iterable[str]) -> bool:
    """Whether the text starts with a complete block, possibly after a comment."""
    opened: Marker | None = None
    for number, line in enumerate(line for line in lines if not is_prolog(line)):
        if opened:
            if opened.is_ended_by(line):
                return True
            continue
        marker = read_marker(line)
        if marker is None or not marker.is_begin:
            continue
        if LISTS & set(marker.label[1:].split()) or (number and marker.label.startswith("<")):
            return False
        opened = marker
    return False


def are_paragraphs(lines: Iterable[str]) -> bool:
    """Whether empty lines separate multi-line keys: the first two paragraphs have the same labels, such as `Name:`."""
    paragraphs = [list(group) for filled, group in groupby(lines, lambda line: bool(line.strip())) if filled]
    if len(paragraphs) < 2:
        return False
    first, second = ([found[1] if (found := LABEL.match(line)) else "" for line in part] for part in paragraphs[:2])
    return len(set(first) - {""}) > 1 and first == second
