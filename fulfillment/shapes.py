"""Whether a code looks like a service's earlier codes, or rather like a message."""

import re
from collections.abc import Iterable

# Longer codes, such as signed license files, have no layout of their own.
MAX_LAYOUT = 100
# From this length on, a single word is random: which marks it holds says nothing.
TOKEN_LENGTH = 20
MESSAGE = re.compile(
    r"(?<![^\W_])(?:err(?:or)?|fail(?:ed|ure)?|invalid|unknown|unavailable|undefined|null|none|nan|n/a|true|false|ok"
    r"|denied|exception|fatal|warning|not[ _-]?found|out[ _-]of[ _-]stock)(?![^\W_])",
    re.I,
)


def shapes_of(code: str) -> set[str]:
    """What a service remembers of a code. None of its letters and digits can be read from it."""
    size = len(code).bit_length()
    return {_family(code, size), *([_layout(code)] if len(code) <= MAX_LAYOUT else [])}


def resembles(code: str, known: Iterable[str]) -> bool:
    """Whether a code has the layout of an earlier one, or its marks, digits and about its length.

    The first codes of a service resemble nothing: they are accepted unless they read like a message.
    """
    known = set(known)
    if not known:
        return not _reads_like_message(code)
    if not re.search(r"\s", code) and names_error(code):
        return False
    size = len(code).bit_length()
    near = {_family(code, one) for one in (size - 1, size, size + 1)}
    return bool(near & known) or (len(code) <= MAX_LAYOUT and _layout(code) in known)


def names_error(code: str) -> bool:
    return bool(MESSAGE.search(code))


def _reads_like_message(code: str) -> bool:
    is_document = code[:1] in set("<{[-")
    is_sentence = bool(re.search(r"[^\S\n\r]", code)) and "\n" not in code and not is_document
    is_word = code.isalpha() and (code.islower() or code.istitle())
    return is_sentence or is_word or names_error(code)


def _layout(code: str) -> str:
    """Its groups of letters and digits by their length: 4-4-4."""
    return re.sub(r"\w+", lambda group: str(len(group[0])), code)


def _family(code: str, size: int) -> str:
    has_digit = bool(re.search(r"\d", code))
    if "\n" in code:
        kind = "lines"
    elif re.match("https?://", code):
        kind = "link"
    elif has_digit and len(code) >= TOKEN_LENGTH and not re.search(r"\s", code):
        kind = "token"
    elif has_digit:
        kind = "".join(sorted(set(re.sub(r"[^\W_]", "", code))))
    else:
        # Letters alone: only the layout counts, or any sentence would resemble another.
        kind = _layout(code)[:MAX_LAYOUT]
    return f"{kind} {size}"
