"""Warnings in the preview of an import."""

import secrets

import pytest

from pools.imports import import_keys
from pools.uploads import begin

LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


def make_keys(shape, count=30):
    """Return random keys; in the shape, X is a letter or digit and 9 a digit."""
    pick = {"X": LETTERS, "9": "0123456789"}
    return ["".join(secrets.choice(pick.get(sign, sign)) for sign in shape) for _ in range(count)]


def warnings(pool, keys):
    return begin(pool, ["\n".join(keys).encode()], actor="test").preview["warnings"]


ODD = {
    "formulas": (
        ["AAAA", "=1+1", "@SUM(A1)"],
        "2 lines (2, 3) – possibly a spreadsheet formula. We import it unchanged.",
    ),
    "errors": (["#REF!", "AAAA"], "Line 1 – a spreadsheet error instead of a key."),
    "spreadsheets": (
        ['="0012"', "'0013", "1234.0", "AAAA"],
        "3 lines (1, 2, 3) with spreadsheet formatting, such as",
    ),
    "rounded numbers": (["1234567890123450000"], "Line 1 with only zeros after the 15th digit"),
    "the beginning of a list": (["=== BEGIN LICENSES ==="], "Line 1 – the beginning or end of a section"),
    "differences only in case": (
        ["AAAA-BBBB", "aaaa-bbbb", "AAAABBBB", "AAAC"],
        "2 lines (2, 3): same as earlier lines except for case, spaces or punctuation",
    ),
    "quotation marks": (
        ['"AAAA"'] * 1 + ["'BBBB'"],
        "2 lines (1, 2) in quotation marks, which become part of the key. If the file is a table, read it as CSV.",
    ),
    "invisible characters": (
        ["AA\u200bAA"],
        "Line 1 with invisible characters inside the key, which nobody can type.",
    ),
    "many": ([f"={number}+1" for number in range(7)], "7 lines (1, 2, 3, 4, 5 …) – possibly a spreadsheet formula."),
    "a heading": (["License key", "AAAA-1"], "The first key looks like a heading."),
    "a heading of another column": (["Key ID", "AAAA-1"], "The first key looks like a heading."),
    "cells": (
        ["NULL", "true", "2026-11-28", "28/11/2026", "1,234,567", "AAAA"],
        "5 lines (1, 2, 3, 4, 5) – possibly a date, a number or a word for an empty cell",
    ),
    "sections": (["[license]", "AAAA"], "Line 1 – the beginning or end of a section"),
    "a table of two lines": (["Ada;AAAA-1", "Bob;BBBB-2"], "Each key contains a semicolon. If this is a table"),
}


@pytest.mark.parametrize(("keys", "warning"), ODD.values(), ids=ODD)
def test_it_warns_about_unlikely_keys(make_pool, keys, warning):
    [found] = warnings(make_pool(), keys)

    assert found.startswith(warning)


@pytest.mark.parametrize("key", ["+AAAA-1", "-----BEGIN", "AAAA=", "#1-AAAA", "CODE+1", "WIRE+12", "Key-1", "ключ-1"])
def test_it_does_not_warn_about_real_keys(make_pool, key):
    assert warnings(make_pool(), [key]) == []


def test_it_warns_about_keys_that_look_unlike_the_pools_earlier_ones(make_pool):
    pool = make_pool()
    import_keys(pool, make_keys("XXXXX-XXXXX"), actor="test")

    assert warnings(pool, make_keys("99999999")) == [
        "The keys look like 99999999; earlier keys of this pool look like AAAAA-AAAAA."
    ]
    assert warnings(pool, make_keys("XXXXX-XXXXX")) == []


def test_it_names_the_pool_whose_keys_they_look_like(make_pool, outsider):
    pool, lite = make_pool(), make_pool(name="Lite")
    import_keys(pool, make_keys("PRO-XXXX-XXXX"), actor="test")
    import_keys(lite, make_keys("LITE-XXXX-XXXX"), actor="test")
    import_keys(make_pool(merchant=outsider, name="Secret"), make_keys("FREE-XXXX"), actor="test")

    [warning] = warnings(pool, make_keys("LITE-XXXX-XXXX"))
    assert warning.startswith("These look like keys of the pool “Lite”.")

    [warning] = warnings(pool, make_keys("FREE-XXXX"))
    assert "Secret" not in warning


def test_it_remembers_the_keys_of_a_sold_out_pool(make_pool, make_product, pay):
    pool = make_pool()
    import_keys(pool, make_keys("XXXX-XXXX"), actor="test")
    pay(make_product(pool=pool), quantity=30)

    assert len(warnings(pool, make_keys("99999999"))) == 1


def test_it_does_not_warn_when_earlier_keys_have_nothing_in_common(make_pool):
    pool = make_pool()
    import_keys(pool, [f"https://dl.example/{'a' * number}" for number in range(30)], actor="test")

    assert warnings(pool, make_keys("XXXX-XXXX")) == []
    assert warnings(make_pool(), make_keys("XXXX-XXXX")) == []


def test_a_warning_contains_no_key(make_pool):
    pool = make_pool()
    import_keys(pool, make_keys("SECRET-XXXX"), actor="test")

    found = warnings(pool, ["=SECRET()", "#N/A", *make_keys("SECRET99-XXXX")])

    assert len(found) == 3 and "SECRET" not in str(found)


def test_it_warns_about_keys_that_differ_from_the_pools_keys_only_in_case(make_pool):
    pool = make_pool()
    import_keys(pool, ["AAAA-BBBB"], actor="test")

    [warning] = warnings(pool, ["aaaa-bbbb", "CCCC"])

    assert warning.startswith("Line 1: same as keys of this pool except for case")
    assert warnings(pool, ["AAAA-BBBB", "CCCC"]) == warnings(make_pool(), ["aaaa-bbbb"]) == []


def test_it_warns_about_several_kinds_of_blocks(make_pool):
    def blocks(*labels):
        return [f"-----BEGIN {label}-----\nAAAA{label}\n-----END {label}-----" for label in labels]

    [warning] = warnings(make_pool(), blocks("CERTIFICATE", "PRIVATE KEY"))

    assert warning.startswith("There are several kinds of blocks")
    assert warnings(make_pool(), blocks("LICENSE 1", "LICENSE 2")) == []
