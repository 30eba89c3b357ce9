"""Invisible characters, and characters that change how the following text is displayed."""

import unicodedata

from django.core.exceptions import ValidationError
from django.utils.translation import gettext

# Control and format characters (bidirectional marks, zero-width spaces, tags), surrogates, private use, unassigned
# characters, line separators; and letters that are blank.
INVISIBLE_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
BLANK_LETTERS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
# Names in Persian and Indian scripts need these.
JOINERS = "\u200c\u200d"


def is_invisible(character: str) -> bool:
    return unicodedata.category(character) in INVISIBLE_CATEGORIES or character in BLANK_LETTERS


def validate_visible(text: str) -> None:
    """Raise ValidationError for invisible characters: identifiers that look the same must be the same."""
    for character in text:
        if is_invisible(character):
            raise ValidationError(
                gettext("Remove the invisible character U+{character:04X}.").format(character=ord(character))
            )


def remove_invisible(text: str) -> str:
    """Remove invisible characters, for names: a bad name must never block an order."""
    return "".join(character for character in text if character in JOINERS or not is_invisible(character)).strip()
