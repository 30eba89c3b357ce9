"""What a log may show of what servers answer."""

import re
from collections.abc import Iterable
from html import unescape
from urllib.parse import quote, quote_plus

from orders.license_texts import hint
from outbound.encodings import storable

# How a license looks in logs: by its last four characters.
MASK = "••••"
# Of an answer that holds more nothing is kept: to look for each of them would take seconds.
MAX_MASKED = 1000
# What may be a license where none was found: groups of capitals and digits, or what is long and not just a word.
SUSPECT = re.compile(r"\b[A-Z0-9]{3,8}(?:[ .:][A-Z0-9]{3,8}){2,}\b|\w[\w+/=-]{4,}")
CAMEL_CASE = re.compile("[A-Za-z]?[a-z]+(?:[A-Z][a-z]+)*")
JSON_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.S)


def mask_code(code: str) -> str:
    return MASK + hint(code) if code else ""


def mask_answer(text: str, codes: Iterable[str], *, secrets: Iterable[str] = (), shown: str = "") -> str:
    """An answer as a log may show it: without its codes, secrets that it repeats, and what may be a code.

    What stands in `shown` need not be masked. Escapes of JSON and XML are resolved, so that nothing hides in them.
    """
    text = _unescape(text)
    hidden = {written for secret in [*codes, *secrets] if secret.strip() for written in (secret, _unescape(secret))}
    if len(hidden) > MAX_MASKED:
        return MASK
    for secret in sorted(hidden, key=len, reverse=True):
        for written in {secret, quote(secret, safe=""), quote_plus(secret)}:
            text = text.replace(written, mask_code(secret))
    text = SUSPECT.sub(lambda match: _mask_suspect(match.group(), shown), text)
    # A code may be spread over elements of XML.
    bare = _squeeze(text)
    return MASK if any(_squeeze(secret) in bare for secret in hidden) else text


def _unescape(text: str) -> str:
    resolved = JSON_ESCAPE.sub(_resolve, unescape(text))
    # Halves of a pair, as JSON writes them, become whole.
    return storable(resolved.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _resolve(match: re.Match[str]) -> str:
    if match.group(1):
        return chr(int(match.group(1), 16))
    return {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}.get(match.group(2), match.group(2))


def _squeeze(text: str) -> str:
    return re.sub(r"<[^<>]*>|\s", "", text)


def _mask_suspect(token: str, shown: str) -> str:
    if token in shown:
        return token
    parts = re.split("[_-]", token)
    is_word = all(part.islower() or part.istitle() or CAMEL_CASE.fullmatch(part) for part in parts if part)
    is_constant = "_" in token and token.isupper() and "-" not in token
    has_digit = any(character.isdigit() for character in token)
    is_harmless = not has_digit and (len(token) < 8 or is_word or is_constant)
    return token if is_harmless else mask_code(token)
