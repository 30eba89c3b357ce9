"""Keys that a spreadsheet changed: additions are removed on request, lost digits are an error."""

import pytest

from pools.detection import parse_keys
from pools.reading import KeyFileError
from pools.spreadsheets import restore
from pools.tests.test_reading import read
from pools.uploads import begin, confirm, read_again

ADDED = {
    '="0012"': "0012",
    '="AAAA-BBBB"': "AAAA-BBBB",
    '="say ""hi"""': 'say "hi"',
    "'0012": "0012",
    "'=AAAA": "=AAAA",
    "1234.0": "1234",
    "1234,0": "1234",
}
UNTOUCHED = ["0012", "=0012", "'AAAA'", "1234.00", "1.2.0", "v1234.0", "AAAA", "O'Neil", '=A1&"x"', "12E4"]


@pytest.mark.parametrize(("key", "restored"), ADDED.items())
def test_it_removes_what_a_spreadsheet_added_on_request(key, restored):
    assert restore(key) == restored
    assert read(key.encode(), spreadsheet="fix") == ([restored], {})
    assert read(key.encode()) == ([key], {})


@pytest.mark.parametrize("key", UNTOUCHED)
def test_it_leaves_other_keys_unchanged(key):
    assert read(f"{key}\n1.0".encode(), spreadsheet="fix") == ([key, "1"], {})


def test_it_also_fixes_keys_in_a_table():
    table = b'Key,Name\n"=""0012""",Ada\n\'0017,Bob\n'

    assert read(table, file_name="keys.csv", spreadsheet="fix") == (["0012", "0017"], {})


@pytest.mark.parametrize("key", ["1.23457E+15", "1,23457E+15", "1E+15", "1.23457e+15"])
@pytest.mark.parametrize("options", [{}, {"spreadsheet": "fix"}])
def test_a_number_that_lost_digits_is_an_error(key, options):
    keys, problems = read(f"AAAA\n{key}\n".encode(), **options)

    assert keys == ["AAAA"] and "losing its last digits" in problems[2]
    with pytest.raises(KeyFileError) as caught:
        parse_keys(f"AAAA\n{key}\n".encode(), options)
    assert list(caught.value.lines) == [2]
    assert read(key.encode(), spreadsheet="keep") == ([key], {})


def test_it_reports_a_column_of_numbers_that_lost_digits(make_pool):
    table = b"License key,Note\n1.23457E+15,AAAA\n1.23457E+15,BBBB\n"

    rejected = begin(make_pool(), [table], actor="test", file_name="keys.csv")

    assert "numbers that a spreadsheet shortened" in rejected.error


def test_the_preview_offers_to_fix_keys(make_pool):
    pool = make_pool()
    key_import = begin(pool, [b'="0012"\nAAAA'], actor="test")
    assert key_import.preview["fixable"] == 1

    fixed = read_again(key_import, {"spreadsheet": "fix"})
    assert (fixed.preview["fixable"], fixed.preview["warnings"]) == (0, [])
    confirm(fixed, actor="test")

    assert [key.code for key in pool.keys.order_by("position")] == ["0012", "AAAA"]
