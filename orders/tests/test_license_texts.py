"""Hints and loose fingerprints of license texts."""

import pytest

from orders.license_texts import hint, hints, letters, loose_fingerprint, loose_fingerprints

BODY = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\nMIIBCgKCAQEA7bq4=="
HINTS = {
    "AAAA-BBBB-CCCC-7Q2M": "7Q2M",
    "AAAA-BBBB-CCCC-7-Q2": "C7Q2",
    "aaaa-bbbb-cccc-7q2m": "7q2m",
    f"-----BEGIN LICENSE-----\n{BODY}\n-----END LICENSE-----": "7bq4",
    f"-----BEGIN LICENSE-----\r\n{BODY}\r\n-----END LICENSE-----\r\n": "7bq4",
    f"=== LICENSE START ===\n{BODY}\n=== LICENSE END ===": "7bq4",
    f"<license>\n<key>{BODY}</key>\n</license>": "7bq4",
    "<license><key>AAAA-BBBB-7Q2M</key></license>": "7Q2M",
    "eyJrZXkiOiAiQUFBQSJ9==": "QSJ9",
    '{"key": "AAAA-BBBB-7Q2M"}': "7Q2M",
    "https://dl.example/files/7Q2M.zip": "7Q2M",
    "https://dl.example/files/7Q2M.tar.gz": "7Q2M",
    "КЛЮЧ-АБВГ-1234": "1234",
    "SHORT-7Q2M": "",
    "--------------7Q2M": "",
    "": "",
}


@pytest.mark.parametrize(("code", "expected"), HINTS.items())
def test_a_hint_tells_licenses_apart(code, expected):
    assert hint(code) == expected


@pytest.mark.parametrize("is_allowed", [str.isascii, lambda code: "\n" not in code, bool, lambda code: True])
def test_many_texts_get_the_same_hints_and_fingerprints_as_one(is_allowed, db):
    codes = list(filter(is_allowed, [*HINTS, " aaaa-bbbb-cccc-7q2m ", "A_B", "http-aaaa-bbbb-cccc.txt"]))

    assert hints(codes) == list(map(hint, codes))
    assert loose_fingerprints(codes) == list(map(loose_fingerprint, codes))


def test_it_finds_hints_of_unusual_texts_quickly():
    for code in ("-" * 10_000, "-- " * 3_000 + "--", "</a" * 3_000 + ">", "#" * 9_999 + "x-"):
        assert len(hint(code)) <= 4


def test_letters_ignore_case_width_accent_encoding_and_punctuation():
    assert letters("Aé-１ ß") == letters("ae\u0301".replace("a", "A") + "1SS") == "aé1ss"


@pytest.mark.django_db
def test_a_text_without_letters_has_no_loose_fingerprint():
    assert loose_fingerprint("---") is None
