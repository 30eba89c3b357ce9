"""Sentences that rows store, such as why an attempt failed, are in English and are translated when they are shown.

docs/decisions/0052-stored-texts-are-english.md
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from gettext import c2py
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple

from babel.messages.mofile import read_mo
from django.conf import settings
from django.utils import translation
from django.utils.formats import number_format

SENTENCE_END = re.compile(r"(?<=[.!?…]) ")
# Values that are messages, too: a state such as “deleted”, or a sentence. Others are names, which stay as they are.
IS_MESSAGE = re.compile(r"[a-z ]+|.*[.…]", re.DOTALL)
NUMBER = re.compile(r"\d[\d,]{0,30}")
# Letters that a message needs besides its values. Others match too much.
MIN_LETTERS = 6


def in_english() -> translation.override:
    """Texts composed in this context are for rows to store."""
    return translation.override(settings.LANGUAGE_CODE)


def show_stored(text: str) -> str:
    """Return a stored text in the active language. What isn't one of our messages stays as it is."""
    language = translation.get_language() or "en"
    return text if not text or language.startswith("en") else _translate(str(text), language)


@lru_cache(10_000)
def _translate(text: str, language: str) -> str:
    return _find(text, language) or text


def _find(text: str, language: str) -> str:
    """Return the translation of a message, or of several in a row; empty if the text is something else."""
    known = _messages(language)
    if text in known.exact:
        return known.exact[text]
    matches = [
        (message, match.groups())
        for message in known.patterns
        if message.longest in text and (match := message.pattern.fullmatch(text))
    ]
    # A value that goes beyond a sentence may be the end of one message and the beginning of the next.
    for message, values in matches:
        if not any(map(SENTENCE_END.search, values)):
            return message.fill(values, language)
    sentences = SENTENCE_END.split(text)
    found = [_find(sentence, language) for sentence in sentences] if len(sentences) > 1 else [""]
    if matches and not all(found):
        message, values = matches[0]
        return message.fill(values, language)
    return " ".join(each or sentence for each, sentence in zip(found, sentences, strict=True)) if any(found) else ""


class Message(NamedTuple):
    """A message with placeholders."""

    pattern: re.Pattern
    longest: str  # the longest part between placeholders, to rule out most messages quickly
    names: list[str]  # of the placeholders, in the order of the English text
    translations: tuple[str, ...]  # one per plural form
    plural: Any  # returns the plural form for a number

    def fill(self, values: Sequence[str | Any], language: str) -> str:
        shown = [_show_value(value, language) for value in values]
        numbers = [int(value.replace(",", "")) for value in values if NUMBER.fullmatch(value)]
        form = self.plural(numbers[0]) if numbers and len(self.translations) > 1 else 0
        return Filler().vformat(self.translations[form], (), dict(zip(self.names, shown, strict=True)))


class Filler(Formatter):
    """Fills in values that are texts already, also where the message formats a number: `{timeout:g}`."""

    def get_value(self, key: int | str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return kwargs.get(str(key), "1")  # an English singular may leave out its number

    def format_field(self, value: Any, format_spec: str) -> str:
        return str(value)


def _show_value(value: str, language: str) -> str:
    if "," in value and NUMBER.fullmatch(value):
        return number_format(int(value.replace(",", "")), force_grouping=True)
    return _translate(value, language) if IS_MESSAGE.fullmatch(value) else value


class Messages(NamedTuple):
    exact: dict[str, str]
    patterns: list[Message]  # the most specific first


@cache
def _messages(language: str) -> Messages:
    exact, patterns = {}, []
    for source, translations, plural in _read(language):
        parts = list(Formatter().parse(source))
        names = [name for _, name, _, _ in parts if name is not None]
        literals = [literal for literal, _, _, _ in parts]
        if not names:
            exact[source] = translations[0]
        elif len(set(names)) == len(names) and sum(map(str.isalpha, "".join(literals))) >= MIN_LETTERS:
            pattern = "".join(
                re.escape(literal) + ("(.+?)" if name is not None else "") for literal, name, _, _ in parts
            )
            message = Message(re.compile(pattern, re.DOTALL), max(literals, key=len), names, translations, plural)
            patterns.append((len("".join(literals)), message))
    return Messages(exact, [message for _, message in sorted(patterns, key=lambda pair: -pair[0])])


def _read(language: str) -> Iterable[tuple[str, tuple[str, ...], Any]]:
    """Yield the singular and the plural of each translated message."""
    for folder in settings.LOCALE_PATHS:
        path = Path(folder) / language / "LC_MESSAGES/django.mo"
        if not path.exists():
            continue
        with path.open("rb") as file:
            catalog = read_mo(file)
        for message in catalog:
            sources = [message.id] if isinstance(message.id, str) else message.id
            translations = (message.string,) if isinstance(message.string, str) else tuple(message.string or ())
            if sources[0] and translations and all(translations):
                for source in sources:
                    yield source, translations, _plural_function(str(catalog.plural_expr))


@cache
def _plural_function(expression: str) -> Any:
    return c2py(expression)
