"""Tell whether a code looks like a service's earlier codes or like an error message."""

import re
from collections.abc import Iterable

# Longer codes, such as signed license files, have no fixed layout.
MAX_LAYOUT = 100
# Shorter texts are probably error numbers, unless all codes are that short.
MIN_LENGTH = 4
# As a service's first code, this is probably an error number.
NUMBER = re.compile(r"-?\d{1,3}|e-?\d{1,6}", re.I)
# Words of error messages in the languages of most small vendors. Whole words only: `ERR_NO_KEY`, but not `FERRY`.
MESSAGE = re.compile(
    r"(?<![^\W_])(?:err(?:ors?)?|fail(?:ed|ure)?|fatal|warning|exception|traceback|invalid|unknown|undefined|missing"
    r"|unavailable|denied|refused|rejected|forbidden|unauthorized|exceeded|expired|disabled|offline|busy|sorry"
    r"|maintenance|time[d _-]*out|no[ _-]?(?:such|more|keys?|codes?|licenses?)|too[ _-]many|out[ _-]of[ _-]stock"
    r"|not[ _-](?:found|available|allowed|authorized)|sold[ _-]?out|try[ _-]?(?:again|later)"
    r"|fehler|unbekannt\w*|ungültig\w*|fehlgeschlagen|verweigert|nicht[ _-](?:gefunden|verfügbar)|ausverkauft"
    r"|erreur|inconnue?|invalide|introuvable|échec|desconocid[oa]|inválid[oa]|no[ _-]encontrad[oa]|agotad[oa]"
    r"|ошибка|неизвестн\w+|не[ _-]найден\w*)(?![^\W\d_])",
    re.I,
)
# What programs print when they have no code.
NOTHING = re.compile(r"(?:null|none|nil|nan|n/?a|true|false|ok|success|done|empty)\W*", re.I)
WORDS = re.compile(r"[^\W\d_]{2,}(?:[-_.:/][^\W\d_]{2,})*[.!]?")


def code_shapes(code: str) -> set[str]:
    """The shapes of a code that a service remembers. They reveal none of its letters and digits."""
    layouts = {_layout(code), _layout(code, case=True)} if len(code) <= MAX_LAYOUT else set()
    return {*_families(code, _size(code)), *layouts}


def resembles(code: str, known: Iterable[str]) -> bool:
    """Whether a code has an earlier code's layout, or its kind and approximate length.

    A service's first codes have nothing to resemble. They are accepted unless they read like a message.
    """
    known = set(known)
    if NOTHING.fullmatch(code):
        return False
    if not known:
        return not _reads_like_message(code)
    families = {family for size in range(_size(code) - 1, _size(code) + 2) for family in _families(code, size)}
    if families & known and len(code) >= MIN_LENGTH:
        return True
    # A word such as “Unauthorized” may share a code's layout, but not its mix of cases.
    is_words = _kind(code) == "words"
    return not names_error(code) and len(code) <= MAX_LAYOUT and _layout(code, case=is_words) in known


def names_error(code: str) -> bool:
    return bool(MESSAGE.search(code))


def _reads_like_message(code: str) -> bool:
    return bool(names_error(code) or NUMBER.fullmatch(code)) or _kind(code) in {"words", "sentence"}


def _kind(code: str) -> str:
    if code.startswith("-----"):
        return "block"
    if "\n" in code:
        return "lines"
    if re.match("https?://", code):
        return "link"
    if code[0] in "<{[":
        return "document"
    if re.search(r"\s", code):
        # A personal license may contain a name: Ada Byron 7Q2M-81XX.
        return "text" if re.search(r"(?=\S*\d)\S{4}", code) else "sentence"
    if not re.search(r"[^\W\d_]", code):
        return "number"
    if WORDS.fullmatch(code) and all(word.islower() or word.istitle() for word in re.findall(r"[^\W_]+", code)):
        return "words"
    return "token" if re.search(r"\d", code) or not code.isupper() else "capitals"


def _size(code: str) -> int:
    """The number of bits of the code's length. 0 for documents, whose length varies."""
    return 0 if _kind(code) in {"block", "document", "lines"} else len(code).bit_length()


def _families(code: str, size: int) -> list[str]:
    kind = _kind(code)
    kinds = [kind]
    if kind == "sentence":
        # Compare only layouts, or all sentences would resemble each other.
        kinds = [_layout(code)[:MAX_LAYOUT]]
    elif kind in {"capitals", "token"}:
        # ABCD-EFGH resembles ABCD-1234, and NO_MORE_KEYS does not.
        marks = "".join(sorted(set(re.sub(r"[^\W_]", "", code))))
        kinds = [f"marks {marks}", *(["token"] if kind == "token" else [])]
    error = " with an error" if names_error(code) else ""
    return [f"{kind}{error}, size {size}" for kind in kinds]


def _layout(code: str, *, case: bool = False) -> str:
    """The lengths of its groups of letters and digits, such as 4-4-4. With `case`, also upper, lower or mixed case."""
    groups = re.sub(r"[^\W_]+", lambda group: str(len(group[0])), code)
    if not case:
        return groups
    cases = {"lower": code.islower(), "upper": code.isupper(), "title": code.istitle()}
    return f"{groups} {next((name for name, fits in cases.items() if fits), 'mixed')}"
