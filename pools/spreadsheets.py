"""Formatting that spreadsheets add to license keys, and how to remove it."""

import re

from django.utils.translation import gettext_lazy as _

# ="0012" and '0012 preserve leading zeros; 1234.0 is a number that was stored as a decimal.
QUOTED = re.compile(r'="((?:[^"]|"")*)"')
APOSTROPHE = re.compile(r"'([^'\s][^']*)")
DECIMAL = re.compile(r"(\d+)[.,]0")
SHORTENED = re.compile(r"\d(?:[.,]\d+)?[Ee]\+\d{1,3}")
MAY_BE_SHORTENED = re.compile(r"\d[Ee]\+\d")
# Spreadsheets replace all further digits with zeros.
DIGITS_KEPT = 15
ROUNDED = re.compile(rf"\d{{{DIGITS_KEPT}}}0+")

FIX, KEEP = "fix", "keep"
WAYS = [FIX, KEEP]

SHORTENED_PROBLEM = _("is a number that a spreadsheet shortened, losing its last digits. Export the column as text")


def restore(key: str) -> str:
    if quoted := QUOTED.fullmatch(key):
        return quoted[1].replace('""', '"')
    changed = APOSTROPHE.fullmatch(key) or DECIMAL.fullmatch(key)
    return changed[1] if changed else key


def is_shortened(key: str) -> bool:
    """Whether a spreadsheet shortened it, so that digits are lost."""
    return SHORTENED.fullmatch(key) is not None
