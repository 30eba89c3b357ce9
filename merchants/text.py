"""Characters that nobody sees, or that change how what follows is read."""

import unicodedata

from django.core.exceptions import ValidationError

# Controls, formats (bidirectional marks, zero-width spaces, tags), halves of pairs, private use, line separators; and
# what counts as a letter, though it shows nothing.
UNSEEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
BLANK_LETTERS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
# Names in Persian and in Indian scripts are spelled with these.
JOINERS = "\u200c\u200d"


def is_unseen(character: str) -> bool:
    return unicodedata.category(character) in UNSEEN_CATEGORIES or character in BLANK_LETTERS


def validate_visible(text: str) -> None:
    """For what identifies something: two that look the same must be the same."""
    for character in text:
        if is_unseen(character):
            raise ValidationError(f"Leave out the invisible character U+{ord(character):04X}.")


def remove_unseen(text: str) -> str:
    """For names, which are never a reason to refuse something."""
    return "".join(character for character in text if character in JOINERS or not is_unseen(character)).strip()
