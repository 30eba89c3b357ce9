"""Multi-line keys with begin and end lines."""

import pytest

from pools.detection import FormatInDoubt, parse_keys
from pools.reading import KeyFileError
from pools.tests.test_reading import read


def block(text, first, last):
    return f"{first}\n{text}\n{last}"


FRAMES = {
    "PEM": ("-----BEGIN LICENSE-----", "-----END LICENSE-----"),
    "two words": ("-----BEGIN PGP MESSAGE-----", "-----END PGP MESSAGE-----"),
    "four dashes and spaces": ("---- BEGIN SSH2 PUBLIC KEY ----", "---- END SSH2 PUBLIC KEY ----"),
    "keyword last": ("=== LICENSE START ===", "=== LICENSE END ==="),
    "asterisks": ("*** Begin License ***", "*** End License ***"),
    "a comment": ("# --- BEGIN LICENSE KEY ---", "# --- END LICENSE KEY ---"),
    "name in the begin line": ("-- BEGIN LICENSE FOR ADA --", "-- END LICENSE --"),
    "JSON": ("{", "}"),
    "XML": ('<license id="7">', "</license>"),
}
BODY = "Name: Ada\nVersion: 2\n\nTUlJQklqQU5CZ2\nAAAA=="


@pytest.mark.parametrize(("first", "last"), FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("between", ["\n", "\n\n", "\r\n \r\n"])
@pytest.mark.parametrize("piece", [None, 1])
def test_two_blocks_are_two_keys(first, last, between, piece):
    key, other_key = block(BODY, first, last), block(BODY.replace("A", "B"), first, last)

    assert read(f"{key}{between}{other_key}\n".encode(), piece=piece) == ([key, other_key], {})
    assert parse_keys(f"{key}{between}{other_key}".encode()) == [key, other_key]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_empty_lines_separate_licenses_of_labeled_lines(end):
    ada, bob = (f"Name: {name}{end}Serial: {key}{end}Valid: 2027" for name, key in [("Ada", "7Q2M"), ("Bob", "81XX")])

    keys, problems = read(f"{ada}{end}{end}{bob}{end}".encode())

    assert ([key.splitlines() for key in keys], problems) == ([ada.splitlines(), bob.splitlines()], {})


@pytest.mark.parametrize(
    "text", ["A-1\nA-2\n\nA-3\nA-4", "Key: A-1\nKey: A-2\n\nKey: A-3\nKey: A-4", "Name: Ada\nKey: A-1"]
)
def test_a_list_with_empty_lines_has_one_key_per_line(text):
    assert read(text.encode())[0] == [line for line in text.split("\n") if line]


def test_an_xml_document_keeps_its_first_line():
    document = '<?xml version="1.0"?>\n<License xmlns="urn:x">\n  <Name>Ada</Name>\n</License>'

    assert read(f"{document}\n{document}".encode()) == ([document, document], {})


def test_a_quoted_block_is_a_cell_of_a_table():
    key, other_key = block("AAAA", *FRAMES["PEM"]), block("BBBB", *FRAMES["PEM"])

    assert read(f'"{key}"\n"{other_key}"\n'.encode()) == ([key, other_key], {})
    with pytest.raises(FormatInDoubt):
        parse_keys(f'"{key}"\n"{other_key}"\n'.encode())


@pytest.mark.parametrize(
    "document",
    [
        '[\n{"key": "AAAA"},\n]',
        '{\n  "keys": [\n    "AAAA-1111"\n  ]',
        '"name": "Ada",\n"key": "AAAA-1111"',
        "AAAA\n<keys>\n  <key>AAAA</key>\n</keys>",
        "AAAA-1111\n---------\nBBBB-2222",
        "__________\nAAAA",
    ],
)
def test_no_line_of_a_document_becomes_a_key(document):
    with pytest.raises(KeyFileError, match="some lines aren’t license keys"):
        parse_keys(document.encode())


def test_it_reports_lines_outside_the_blocks():
    key = block("AAAA", *FRAMES["PEM"])

    keys, problems = read(f"Licenses of May\n{key}\n{key}\nThe end\n".encode())

    assert keys == [key, key]
    assert problems == dict.fromkeys([1, 8], "is outside the blocks that have begin and end lines")


def test_it_reports_the_first_line_of_a_block_without_an_end():
    begin, end = FRAMES["PEM"]

    keys, problems = read(f"{begin}\nAAAA\n{begin}\nBBBB\n{end}\n{begin}\nCCCC".encode())

    assert keys == [block("BBBB", begin, end)]
    assert problems == dict.fromkeys([1, 6], "starts a block that has no end")


@pytest.mark.parametrize(
    "content",
    [
        "=== BEGIN LICENSES ===\nAAAA-1111\nBBBB-2222\n=== END LICENSES ===",
        "-----\nAAAA-1111\n-----",
        "AAAA-1111\n<b>\nBBBB\n</b>",
        "-----BEGIN LICENSE-----\nAAAA",
        "--START--AAAA--\nBBBB",
        "-" * 100_000 + "x\nAAAA",
    ],
)
def test_it_reads_other_content_line_by_line(content):
    keys, problems = read(content.encode())

    assert len(keys) + len(problems) == len(content.split("\n"))


def test_the_user_can_choose_lines_or_blocks():
    key = block("AAAA", *FRAMES["PEM"])

    assert len(read(key.encode(), split="lines")[0]) == 3
    assert read(b"<a>\nAAAA\n</a>\n<a>\nBBBB\n</a>", split="blocks")[0] == ["<a>\nAAAA\n</a>", "<a>\nBBBB\n</a>"]
