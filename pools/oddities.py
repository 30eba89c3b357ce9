"""What is odd about keys that come in: things that people are told of before they import them."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from pools.models import LicensePool
from pools.reading import HEADINGS, KeyLine

SAMPLE = 200  # keys of a pool, and of a file, whose looks are compared
OTHER_POOLS = 20
ENOUGH = 10  # fewer keys have no looks in common
LINES_NAMED = 5

FORMULA = re.compile(r"[=@][A-Za-z(\"+-]|[=+-]\d+[+*/]")
SPREADSHEET_ERROR = re.compile(r"#(REF!|N/A|VALUE!|NAME\?|DIV/0!|NUM!|NULL!|#+)")
SCIENTIFIC = re.compile(r"\d([.,]\d+)?E\+\d+")


class Oddities:
    """Looks at keys as they pass by; its sentences quote none of them."""

    def __init__(self) -> None:
        self.sample: list[str] = []
        self.lines: dict[str, list[int]] = {}
        self.counts: Counter[str] = Counter()

    def watch(self, lines: Iterable[KeyLine]) -> Iterator[KeyLine]:
        for line in lines:
            key = line.key
            # What most keys are none of is seen at a glance: there may be a million.
            if key[:1] in ODD_STARTS or "E+" in key or not key.isprintable():
                self._note(line)
            if key and len(self.sample) < SAMPLE:
                self.sample.append(key)
            yield line

    def _note(self, line: KeyLine) -> None:
        for kind, applies in KINDS.items():
            if line.key and applies(line.key):
                self.counts[kind] += 1
                if self.counts[kind] <= LINES_NAMED:
                    self.lines.setdefault(kind, []).append(line.number)

    def describe(self, pool: LicensePool) -> list[str]:
        """Sentences about what was odd, and about keys that look unlike those of the pool."""
        sentences = [f"{self._where(kind)} {sentence}" for kind, sentence in SENTENCES.items() if self.counts[kind]]
        if self.sample and HEADINGS.search(self.sample[0]) and not re.search(r"\d", self.sample[0]):
            sentences.append("The first of them looks like a heading, not like a key.")
        return sentences + compare(self.sample, pool)

    def _where(self, kind: str) -> str:
        count, lines = self.counts[kind], ", ".join(map(str, self.lines[kind]))
        if count == 1:
            return f"Line {lines}"
        return f"{count:,} lines ({lines}{'' if count <= LINES_NAMED else ' …'})"


ODD_STARTS = frozenset("=@+-#\"'")
KINDS: dict[str, Callable[[str], object]] = {
    "formula": FORMULA.match,
    "error": SPREADSHEET_ERROR.fullmatch,
    "scientific": SCIENTIFIC.fullmatch,
    "quoted": re.compile(r"([\"']).+\1", re.DOTALL).fullmatch,
    "invisible": lambda key: not key.replace("\n", "").replace("\t", "").isprintable(),
}
SENTENCES = {
    "formula": "– a spreadsheet’s formula? It is imported as it stands.",
    "error": "– a spreadsheet’s error in place of a key.",
    "scientific": "– a number as a spreadsheet shortens it, with digits lost. Export it as text.",
    "quoted": "in quotation marks, which would be a part of the key. If the file is a table, read it as CSV.",
    "invisible": "with characters inside the key that nobody can see, or type.",
}


# How keys look


class Looks:
    """What keys have in common: groups of equal lengths between the same signs, and the word in front."""

    def __init__(self, keys: list[str]) -> None:
        shapes, words = Counter(map(shape, keys)), set(map(first_word, keys))
        # What one key in ten looks like, at least.
        self.shapes = {known for known, count in shapes.items() if count >= max(len(keys) / 10, 2)}
        self.words = words if len(words) <= 3 else None
        self.are_known = len(keys) >= ENOUGH and self.share_of(keys) >= 0.8

    def share_of(self, keys: list[str]) -> float:
        """How many of these look so, from 0 to 1."""
        fit = (shape(key) in self.shapes and (self.words is None or first_word(key) in self.words) for key in keys)
        return sum(fit) / max(len(keys), 1)

    def __str__(self) -> str:
        return " or ".join(known[:60] for known in sorted(self.shapes)[:3])


def shape(key: str) -> str:
    """`AAAAA-AAAAA`, or `99999-99999` for a key without letters."""
    return re.sub(r"[^\W_]", "A" if any(map(str.isalpha, key)) else "9", key)


def first_word(key: str) -> str:
    """The letters before the first sign, such as a product’s name."""
    found = re.match(r"[^\W\d_]+(?=[\W_])", key)
    return found[0] if found else ""


def compare(sample: list[str], pool: LicensePool) -> list[str]:
    """What there is to say if keys look unlike the newest of the pool."""
    earlier = Looks(newest_keys(pool))
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
