"""Mask codes and secrets in logged answers."""

import re
from collections.abc import Iterable
from html import unescape
from urllib.parse import quote, quote_plus

from orders.license_texts import hint
from outbound.encodings import storable

# Logs show this and a license's last four characters.
MASK = "••••"
# Answers with more codes and secrets aren't logged, because searching for each one would take seconds.
MAX_MASKED = 1000
# What may be an unrecognized license: groups of capitals and digits, or a long token that isn't a word.
SUSPECT = re.compile(r"\b[A-Z0-9]{3,8}(?:[ .:][A-Z0-9]{3,8}){2,}\b|\w[\w+/=-]{4,}")
CAMEL_CASE = re.compile("[A-Za-z]?[a-z]+(?:[A-Z][a-z]+)*")
JSON_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.S)


def mask_code(code: str) -> str:
    return MASK + hint(code) if code else ""


def mask_answer(text: str, codes: Iterable[str], *, secrets: Iterable[str] = (), shown: str = "") -> str:
    """Mask an answer's codes, repeated secrets and anything that may be a code.

    Tokens that appear in `shown` stay. JSON and XML escapes are resolved first, so that they can't hide a code.
    """
    text = _unescape(text)
    hidden = {written for secret in [*codes, *secrets] if secret.strip() for written in (secret, _unescape(secret))}
    if len(hidden) > MAX_MASKED:
        return MASK
    for secret in sorted(hidden, key=len, reverse=True):
        for written in {secret, quote(secret, safe=""), quote_plus(secret)}:
            text = text.replace(written, mask_code(secret))
    text = SUSPECT.sub(lambda match: _mask_suspect(match.group(), shown), text)
    # A code may be split across XML elements.
    bare = _squeeze(text)
    return MASK if any(_squeeze(secret) in bare for secret in hidden) else text


def _unescape(text: str) -> str:
    resolved = JSON_ESCAPE.sub(_resolve, unescape(text))
    # Join surrogate pairs, which JSON escapes separately.
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
