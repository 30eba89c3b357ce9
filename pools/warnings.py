"""Warnings about suspicious keys, shown before they are imported."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import compress, islice

from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from pools.blocks import read_marker
from pools.columns import DATE, Heading, KeyFormat, judge_heading
from pools.models import LicensePool
from pools.reading import DELIMITERS, KeyLine
from pools.spreadsheets import ROUNDED, is_shortened, restore

SAMPLE_SIZE = 200  # keys of a pool and of a file whose formats we compare
MAX_OTHER_POOLS = 20
MAX_LINES_NAMED = 5
CHUNK_SIZE = 500  # lines that we test together

FORMULA = re.compile(r"[=@][A-Za-z(+-]|[=+-]\d+[+*/]")
SPREADSHEET_ERROR = re.compile(r"#(REF!|N/A|VALUE!|NAME\?|DIV/0!|NUM!|NULL!|#+)")

GROUPED = re.compile(r"\d{1,3}(?:[,.\s]\d{3})+")
EMPTY_WORDS = ("null", "none", "nil", "nan", "n/a", "true", "false", "undefined", "tbd", "todo")
NO_KEYS = frozenset(written for word in EMPTY_WORDS for written in (word, word.upper(), word.title()))
SECTION = re.compile(r"\[[^\W\d][\w .-]*\]")


class KeyWarnings:
    """Collects warnings about keys while they are read. The warnings quote no keys.

    Create it before the import, because it compares with the pool's earlier keys. Without a pool it skips that.
    """

    def __init__(self, pool: LicensePool | None) -> None:
        self.pool = pool
        self.earlier = newest_keys(pool) if pool else []
        self.sample: list[str] = []
        self.lines: dict[str, list[int]] = {}
        self.counts: Counter[str] = Counter()
        self.labels: set[str] = set()  # of blocks, without numbers

    def watch(self, lines: Iterable[KeyLine]) -> Iterator[KeyLine]:
        lines = iter(lines)
        while chunk := list(islice(lines, CHUNK_SIZE)):
            keys = [line.key for line in chunk]
            for line in compress(chunk, select_suspicious(keys)):
                self._note(line)
            if len(self.sample) < SAMPLE_SIZE:
                self.sample += list(filter(None, keys))[: SAMPLE_SIZE - len(self.sample)]
            yield from chunk

    def _note(self, line: KeyLine) -> None:
        if "\n" in line.key and (marker := read_marker(line.key.partition("\n")[0])):
            self.labels.add(re.sub(r"\d+", "", marker.label))
        for kind, applies in KINDS.items():
            if line.key and applies(line.key):
                self.counts[kind] += 1
                if self.counts[kind] <= MAX_LINES_NAMED:
                    self.lines.setdefault(kind, []).append(line.number)

    @property
    def fixable(self) -> int:
        return self.counts["spreadsheet"]

    def describe(self) -> list[str]:
        sentences = [
            str(sentence).format(lines=describe_lines(self.counts[kind], self.lines[kind]))
            for kind, sentence in SENTENCES.items()
            if self.counts[kind]
        ]
        if len(self.labels) > 1:
            sentences.append(
                gettext(
                    "There are several kinds of blocks, and each block becomes a key. If several blocks form one key,"
                    " separate the keys with empty lines and split the text at empty lines."
                )
            )
        first = self.sample[0] if self.sample else ""
        if judge_heading(first) != Heading.NOTHING and not is_marker(first) and not re.search(r"\d", first):
            sentences.append(gettext("The first key looks like a heading."))
        for delimiter, name in DELIMITERS.items():
            if all(delimiter in key and "\n" not in key for key in self.sample) and not any(
                delimiter in key for key in self.earlier
            ):
                sentences.append(
                    gettext("Each key contains a {name}. If this is a table, choose the column with the keys.").format(
                        name=name
                    )
                )
        return sentences + (compare_formats(self.sample, self.earlier, self.pool) if self.pool else [])


def select_suspicious(keys: list[str]) -> Iterable[bool]:
    """Exclude most keys with cheap tests, because there may be a million."""
    if has_special_characters("".join(keys)):
        return (has_suspicious_ends(key) or has_special_characters(key) for key in keys)
    return map(has_suspicious_ends, keys)


def has_suspicious_ends(key: str) -> bool:
    return (
        # A date or a rounded or grouped number has no letters at its start.
        (key[-1:] == "0" and key[:4].upper() == key[:4].lower())
        or key[:1] in SUSPICIOUS_STARTS
        or key[:2] in YEARS
        or key in NO_KEYS
    )


def has_special_characters(text: str) -> bool:
    return "+" in text or "/" in text or "," in text or "." in text or not text.isprintable()


def is_marker(key: str) -> bool:
    return bool(read_marker(key) or SECTION.fullmatch(key))


def describe_lines(count: int, lines: list[int]) -> str:
    named = ", ".join(map(str, lines[:MAX_LINES_NAMED]))
    if count == 1:
        return gettext("Line {number}").format(number=named)
    more = "" if count <= MAX_LINES_NAMED else " …"
    return gettext("{count} lines ({numbers})").format(count=intcomma(count), numbers=named + more)


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
    "spreadsheet": _(
        '{lines} with spreadsheet formatting, such as ="0012", \'0012 or 1234.0, which becomes part of the key'
        " unless you remove it."
    ),
    "rounded": _(
        "{lines} with only zeros after the 15th digit. Spreadsheets round long numbers. Compare with the original."
    ),
    "marker": _("{lines} – the beginning or end of a section, not a key."),
    "cell": _("{lines} – possibly a date, a number or a word for an empty cell, not a key."),
    "formula": _("{lines} – possibly a spreadsheet formula. We import it unchanged."),
    "error": _("{lines} – a spreadsheet error instead of a key."),
    "scientific": _("{lines} – a number that a spreadsheet shortened, losing digits. Export it as text."),
    "quoted": _("{lines} in quotation marks, which become part of the key. If the file is a table, read it as CSV."),
    "invisible": _("{lines} with invisible characters inside the key, which nobody can type."),
}


def compare_formats(sample: list[str], known: list[str], pool: LicensePool) -> list[str]:
    earlier = KeyFormat(known)
    if not sample or not earlier.is_known or earlier.match_rate(sample) >= 0.5:
        return []

    new = KeyFormat(sample)
    warning = gettext("The keys look different; earlier keys of this pool look like {earlier}.")
    if new.is_known and str(new) != str(earlier):
        warning = gettext("The keys look like {new}; earlier keys of this pool look like {earlier}.")
    warning = warning.format(new=new, earlier=earlier)
    others = (
        LicensePool.objects.filter(merchant=pool.merchant_id).exclude(pk=pool.pk).order_by("-pk")[:MAX_OTHER_POOLS]
    )
    for other in others:
        other_format = KeyFormat(newest_keys(other))
        if other_format.is_known and other_format.match_rate(sample) >= 0.9:
            return [
                gettext("These look like keys of the pool “{other}”. {warning}").format(other=other, warning=warning)
            ]
    return [warning]


def newest_keys(pool: LicensePool) -> list[str]:
    # Both orders have an index, so this is fast in pools of any size.
    available = pool.keys.available().order_by("-position")[:SAMPLE_SIZE]
    keys = list(available) or list(pool.keys.issued().order_by("-issued_at")[:SAMPLE_SIZE])
    return [key.code for key in keys]
