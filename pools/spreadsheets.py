"""What spreadsheets do to license keys, and how far it can be undone."""

import re

# ="0012" and '0012 keep a number's zeros; 1234.0 is a number that went through a table of decimals.
QUOTED = re.compile(r'="((?:[^"]|"")*)"')
APOSTROPHE = re.compile(r"'([^'\s][^']*)")
DECIMAL = re.compile(r"(\d+)[.,]0")
SHORTENED = re.compile(r"\d(?:[.,]\d+)?[Ee]\+\d{1,3}")
MAY_BE_SHORTENED = re.compile(r"\d[Ee]\+\d")
# More digits than these a spreadsheet does not keep: it puts zeros in their place.
DIGITS_KEPT = 15
ROUNDED = re.compile(rf"\d{{{DIGITS_KEPT}}}0+")

FIX, KEEP = "fix", "keep"
WAYS = [FIX, KEEP]

SHORTENED_PROBLEM = "is a number that a spreadsheet shortened: its last digits are lost. Export the column as text"


def restore(key: str) -> str:
    if quoted := QUOTED.fullmatch(key):
        return quoted[1].replace('""', '"')
    changed = APOSTROPHE.fullmatch(key) or DECIMAL.fullmatch(key)
    return changed[1] if changed else key


def is_shortened(key: str) -> bool:
    """Whether digits of it are lost for good."""
    return SHORTENED.fullmatch(key) is not None
