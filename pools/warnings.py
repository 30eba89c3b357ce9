"""What is odd about keys that come in: things that people are told of before they import them."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from pools.blocks import read_marker
from pools.columns import DATE, Heading, Looks, judge_heading
from pools.models import LicensePool
from pools.reading import DELIMITERS, KeyLine
from pools.spreadsheets import ROUNDED, is_shortened, restore

SAMPLE = 200  # keys of a pool, and of a file, whose looks are compared
OTHER_POOLS = 20
LINES_NAMED = 5

FORMULA = re.compile(r"[=@][A-Za-z(+-]|[=+-]\d+[+*/]")
SPREADSHEET_ERROR = re.compile(r"#(REF!|N/A|VALUE!|NAME\?|DIV/0!|NUM!|NULL!|#+)")

GROUPED = re.compile(r"\d{1,3}(?:[,.\s]\d{3})+")
EMPTY_WORDS = ("null", "none", "nil", "nan", "n/a", "true", "false", "undefined", "tbd", "todo")
NO_KEYS = frozenset(written for word in EMPTY_WORDS for written in (word, word.upper(), word.title()))
SECTION = re.compile(r"\[[^\W\d][\w .-]*\]")


class KeyWarnings:
    """Looks at keys as they pass by; its sentences quote none of them.

    Made before an import, for the pool's earlier keys; without a pool these are not looked at.
    """

    def __init__(self, pool: LicensePool | None) -> None:
        self.pool = pool
        self.earlier = newest_keys(pool) if pool else []
        self.sample: list[str] = []
        self.lines: dict[str, list[int]] = {}
        self.counts: Counter[str] = Counter()
        self.labels: set[str] = set()  # of blocks, without numbers

    def watch(self, lines: Iterable[KeyLine]) -> Iterator[KeyLine]:
        for line in lines:
            key = line.key
            # What most keys are none of is seen at a glance: there may be a million.
            if (
                key[:1] in SUSPICIOUS_STARTS
                or key[-1:] == "0"
                or key[:2] in YEARS
                or key in NO_KEYS
                or "+" in key
                or "/" in key
                or "," in key
                or "." in key
                or not key.isprintable()
            ):
                self._note(line)
            if key and len(self.sample) < SAMPLE:
                self.sample.append(key)
            yield line

    def _note(self, line: KeyLine) -> None:
        if "\n" in line.key and (marker := read_marker(line.key.partition("\n")[0])):
            self.labels.add(re.sub(r"\d+", "", marker.label))
        for kind, applies in KINDS.items():
            if line.key and applies(line.key):
                self.counts[kind] += 1
                if self.counts[kind] <= LINES_NAMED:
                    self.lines.setdefault(kind, []).append(line.number)

    @property
    def fixable(self) -> int:
        return self.counts["spreadsheet"]

    def describe(self) -> list[str]:
        sentences = [
            f"{where(self.counts[kind], self.lines[kind])} {sentence}"
            for kind, sentence in SENTENCES.items()
            if self.counts[kind]
        ]
        if len(self.labels) > 1:
            sentences.append(
                "The blocks are of several kinds, and each block is one key. If several belong together, put an empty"
                " line between two keys and split the text at empty lines."
            )
        first = self.sample[0] if self.sample else ""
        if judge_heading(first) != Heading.NOTHING and not is_marker(first) and not re.search(r"\d", first):
            sentences.append("The first of them looks like a heading, not like a key.")
        for delimiter, name in DELIMITERS.items():
            if all(delimiter in key and "\n" not in key for key in self.sample) and not any(
                delimiter in key for key in self.earlier
            ):
                sentences.append(f"Each holds a {name}. If this is a table, read the keys from one of its columns.")
        return sentences + (compare(self.sample, self.earlier, self.pool) if self.pool else [])


def is_marker(key: str) -> bool:
    return bool(read_marker(key) or SECTION.fullmatch(key))


def where(count: int, lines: list[int]) -> str:
    named = ", ".join(map(str, lines[:LINES_NAMED]))
    return f"Line {named}" if count == 1 else f"{count:,} lines ({named}{'' if count <= LINES_NAMED else ' …'})"


SUSPICIOUS_STARTS = frozenset("=@+-#\"'<[")
YEARS = ("19", "20")
KINDS: dict[str, Callable[[str], object]] = {
    "spreadsheet": lambda key: restore(key) != key,
    "rounded": ROUNDED.fullmatch,
    "marker": lambda key: "\n" not in key and is_marker(key),
    "cell": lambda key: key in NO_KEYS or DATE.fullmatch(key) or GROUPED.fullmatch(key),
    "formula": FORMULA.match,
    "error": SPREADSHEET_ERROR.fullmatch,
    "scientific": is_shortened,
    "quoted": re.compile(r"([\"']).+\1", re.DOTALL).fullmatch,
    "invisible": lambda key: not key.replace("\n", "").replace("\t", "").isprintable(),
}
SENTENCES = {
    "spreadsheet": 'with what a spreadsheet adds, such as ="0012", \'0012 or 1234.0. It would be a part of the key;'
    " it can be removed (spreadsheet: fix).",
    "rounded": "with zeros after the fifteenth digit, as spreadsheets round long numbers. Compare with the original.",
    "marker": "– the beginning or the end of something, not a key.",
    "cell": "– a date, a number or a word that stands for an empty cell, not a key?",
    "formula": "– a spreadsheet’s formula? It is imported as it stands.",
    "error": "– a spreadsheet’s error in place of a key.",
    "scientific": "– a number as a spreadsheet shortens it, with digits lost. Export it as text.",
    "quoted": "in quotation marks, which would be a part of the key. If the file is a table, read it as CSV.",
    "invisible": "with characters inside the key that nobody can see, or type.",
}


def compare(sample: list[str], known: list[str], pool: LicensePool) -> list[str]:
    earlier = Looks(known)
    if not sample or not earlier.are_known or earlier.share_of(sample) >= 0.5:
        return []

    new = Looks(sample)
    described = f"like {new}" if new.are_known and str(new) != str(earlier) else "different"
    warning = f"The keys look {described}; earlier ones of this pool look like {earlier}."
    others = LicensePool.objects.filter(merchant=pool.merchant_id).exclude(pk=pool.pk).order_by("-pk")[:OTHER_POOLS]
    for other in others:
        looks = Looks(newest_keys(other))
        if looks.are_known and looks.share_of(sample) >= 0.9:
            return [f"These look like keys of “{other}”. {warning}"]
    return [warning]


def newest_keys(pool: LicensePool) -> list[str]:
    # By the orders that have an index, however many keys there are.
    available = pool.keys.available().order_by("-position")[:SAMPLE]
    keys = list(available) or list(pool.keys.issued().order_by("-issued_at")[:SAMPLE])
    return [key.code for key in keys]
