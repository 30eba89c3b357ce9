"""The differences between two texts, word by word."""

import re
from difflib import SequenceMatcher
from itertools import groupby
from typing import NamedTuple

# difflib's time can grow with the cube of the number of parts. This many take less than a second.
MAX_PARTS = 1000
WORDS = re.compile(r"\S+ *|\n|[^\S\n]+")
LINES = re.compile(r"[^\n]*\n|[^\n]+")


class MarkedPiece(NamedTuple):
    text: str
    is_changed: bool

    @property
    def marked(self) -> str:
        """The text with visible line breaks, which would otherwise not show that they were added or removed."""
        return self.text.replace("\n", "↵\n")


class Comparison(NamedTuple):
    old: list[MarkedPiece]
    new: list[MarkedPiece]

    @property
    def removed(self) -> int:
        return _count_changed(self.old)

    @property
    def added(self) -> int:
        return _count_changed(self.new)

    @property
    def is_equal(self) -> bool:
        return not any(piece.is_changed for piece in self.old + self.new)


def compare_texts(old: str, new: str) -> Comparison:
    """Compare words; lines if too many words changed; and if too many lines changed, only where the changes are."""
    for pattern in (WORDS, LINES):
        parts = pattern.findall(old), pattern.findall(new)
        start = _count_equal(*parts)
        end = _count_equal(*(each[start:][::-1] for each in parts))
        middle = [each[start : len(each) - end] for each in parts]
        if max(map(len, middle)) <= MAX_PARTS:
            break

    changed = [[False] * start + [True] * len(each) + [False] * end for each in middle]
    if max(map(len, middle)) <= MAX_PARTS:
        # Without the spaces after words, because those at the end of a line have none.
        removed, added = ([part.rstrip(" ") for part in each] for each in middle)
        for block in SequenceMatcher(None, removed, added).get_matching_blocks():
            for flags, position in zip(changed, block[:2], strict=True):
                flags[start + position : start + position + block.size] = [False] * block.size
    return Comparison(*(_join(each, flags) for each, flags in zip(parts, changed, strict=True)))


def _count_equal(old: list[str], new: list[str]) -> int:
    """Return the number of equal parts at the beginning."""
    differing = (index for index, (one, other) in enumerate(zip(old, new)) if one != other)  # noqa: B905
    return next(differing, min(len(old), len(new)))


def _join(parts: list[str], changed: list[bool]) -> list[MarkedPiece]:
    runs = groupby(zip(parts, changed, strict=True), key=lambda pair: pair[1])
    return [MarkedPiece("".join(part for part, _ in run), is_changed) for is_changed, run in runs]


def _count_changed(pieces: list[MarkedPiece]) -> int:
    """Return the number of words."""
    return sum(len(piece.text.split()) for piece in pieces if piece.is_changed)
