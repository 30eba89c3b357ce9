"""Reading real-world key files: the keys, or an error with the line number."""

import codecs
import gzip
import io
import zipfile

import pytest

from pools import reading
from pools.detection import detect, get_column_names, parse_keys
from pools.reading import KeyFileError, KeyLine, read_keys, unpack

TWO_KEYS = ["AAAA-1111", "BBBB-2222"]


def read(content, *, file_name="", piece=None, **options):
    """Return the keys that an import would find in this content, and the problems by line number."""
    unpacked = b"".join(unpack(cut(content, piece)))
    read_as = detect([unpacked], options, file_name=file_name)
    lines = list(read_keys(cut(unpacked, piece), read_as))
    return [line.key for line in lines if line.key], {line.number: line.problem for line in lines if line.problem}


def cut(content, size):
    return [content[at : at + size] for at in range(0, len(content), size)] if size else [content]


def text(encoding, content="AAAA-1111\nBBBB-2222\n"):
    return content.encode(encoding)


def zipped(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "AAAA")
    return file.getvalue()


GOOD = {
    "line feeds": b"AAAA-1111\nBBBB-2222\n",
    "carriage returns": b"AAAA-1111\rBBBB-2222",
    "both": b"AAAA-1111\r\nBBBB-2222\r\n",
    "mixed": b"\rAAAA-1111\n\r\nBBBB-2222\r\r",
    "UTF-8 with BOM": codecs.BOM_UTF8 + text("utf-8"),
    "UTF-16": text("utf-16"),
    "UTF-16 with big-endian BOM": codecs.BOM_UTF16_BE + text("utf-16-be"),
    "UTF-16 without BOM": text("utf-16-le"),
    "UTF-16 without BOM, big-endian": text("utf-16-be"),
    "gzip": gzip.compress(text("utf-8")),
    "gzip in two members": gzip.compress(b"AAAA-1111\nBB") + gzip.compress(b"BB-2222"),
    "gzip of UTF-16": gzip.compress(text("utf-16")),
    "gzip padded with zeros": gzip.compress(text("utf-8")) + bytes(512),
    "spaces and tabs around": b"  AAAA-1111\t\n\tBBBB-2222  \n \t \n",
    "no-break and zero-width spaces around": "\u00a0AAAA-1111\u200b\n\ufeffBBBB-2222\u3000".encode(),
    "direction marks around": "\u202aAAAA-1111\u202c\n\u200fBBBB-2222\u200e".encode(),
    "two concatenated files": codecs.BOM_UTF8 + b"AAAA-1111\n" + codecs.BOM_UTF8 + b"BBBB-2222\n",
}


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD)
@pytest.mark.parametrize("piece", [None, 1, 3])
def test_it_reads_one_key_per_line(content, piece):
    assert read(content, piece=piece) == (TWO_KEYS, {})


AS_TYPED = {
    "spaces inside": "AAAA  BBBB\tCCCC",
    "quotation marks": '"AAAA-BBBB"',
    "commas": "AAAA,BBBB",
    "a formula": "=1+1",
    "another formula": "@SUM(A1)",
    "a link to a file": "https://dl.example/?a=1&b=2#c",
    "markup": "<script>alert(1)</script>",
    "accents": "clé-élève-12",
    "Cyrillic": "КЛЮЧ-1234",
    "a joiner inside": "क्‍ष-12",
    "a Unicode line separator inside": "AAAA\u2028BBBB",
}


@pytest.mark.parametrize("key", AS_TYPED.values(), ids=AS_TYPED)
def test_it_keeps_a_key_exactly_as_typed(key):
    assert read(f"{key}\nBBBB".encode()) == ([key, "BBBB"], {})


BAD = {
    "NUL": (b"AAAA-AAAA\nBB\0BB\nCCCC-CCCC", {2: "contains a NUL character"}),
    "control characters": (
        b"AAAA-AAAA\nBB\x07BB\nCCCC\x1bDDDD\n",
        dict.fromkeys([2, 3], "contains a control character"),
    ),
    "not UTF-8": ("clé\n".encode() + b"BB\xffBB\n", {2: "isn’t UTF-8 text"}),
    "half a UTF-16 character": (text("utf-16", "AAAA\nBBBB")[:-1], {2: "isn’t UTF-16 text"}),
    "too long": (b"AAAA\n\n" + b"B" * 10_001, {3: "is longer than 10000 characters"}),
    "a one-megabyte line": (b"AAAA\n" + b"B" * 1_000_000 + b"\nCCCC", {2: "is longer than 10000 characters"}),
}


@pytest.mark.parametrize(("content", "problems"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("piece", [None, 1024])
def test_it_reports_each_line_that_cannot_be_a_key_and_reads_the_others(content, problems, piece):
    keys, found = read(content, piece=piece)

    assert found == problems
    assert len(keys) + len(problems) == len([line for line in content.split(b"\n") if line])


def test_it_accepts_a_key_of_the_maximum_length():
    assert read(b"B" * 10_000) == (["B" * 10_000], {})


REFUSED = {
    "a workbook": (zipped("[Content_Types].xml", "xl/workbook.xml"), "Excel workbook. Save it as CSV"),
    "a document": (zipped("word/document.xml"), "Word document"),
    "an archive": (zipped("keys.txt"), "ZIP archive. Extract it"),
    "a workbook in a gzip": (gzip.compress(zipped("xl/workbook.xml")), "Excel workbook"),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), "old Excel"),
    "a PDF": (b"%PDF-1.7\n%\xe2\xe3", "PDF document"),
    "a program": (b"\x7fELF\x02\x01\x01" + bytes(64), "isn’t a text file"),
    "a truncated gzip": (gzip.compress(text("utf-8"))[:-6], "file is incomplete"),
    "the start of a gzip header": (b"\x1f\x8b", "file is incomplete"),
    "a damaged gzip": (gzip.compress(text("utf-8"))[:-8] + bytes(8), "damaged"),
    "a gzip followed by other data": (gzip.compress(text("utf-8")) + b"AAAA", "followed by other data"),
    "a gzip in a gzip": (gzip.compress(gzip.compress(b"AAAA")), "gzipped twice"),
    "a gzip with a thousand members": (gzip.compress(b"A\n") * 1000, "too many parts"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("piece", [None, 1000])
def test_it_rejects_other_file_types_with_a_helpful_message(content, message, piece):
    with pytest.raises(KeyFileError, match=message):
        read(content, piece=piece)


def test_it_stops_unpacking_a_gzip_that_becomes_too_large(monkeypatch):
    monkeypatch.setattr(reading, "MAX_SIZE", 3 * reading.PIECE_SIZE)
    bomb = gzip.compress(b"AAAA\n" * 10_000_000)
    pieces = unpack([bomb])

    with pytest.raises(KeyFileError, match="larger than 3 MiB"):
        assert [len(piece) for piece in pieces] == []
    assert len(bomb) < 100_000


def test_it_stops_reading_after_too_many_lines(monkeypatch):
    monkeypatch.setattr(reading, "MAX_LINES", 1000)

    with pytest.raises(KeyFileError, match="more than 1,000 lines"):
        read(b"\n" * 2000)


# Encodings


def test_it_reads_windows_1251_when_the_content_is_not_utf_8():
    assert read("КЛЮЧ-1\nКЛЮЧ-2".encode("cp1251")) == (["КЛЮЧ-1", "КЛЮЧ-2"], {})


def test_another_encoding_can_be_chosen():
    assert read("clé".encode("cp1252"), encoding="windows-1252") == (["clé"], {})
    assert read(text("utf-16-be"), encoding="utf-16-be") == (TWO_KEYS, {})


def test_it_reports_lines_that_are_invalid_in_the_chosen_encoding():
    assert read(b"AAAA\nBB\x98B", encoding="windows-1251") == (["AAAA"], {2: "isn’t windows-1251 (Cyrillic) text"})


# Multi-line keys

PEM = "-----BEGIN LICENSE-----\nAAAA\n\nBBBB\n-----END LICENSE-----"


def test_a_separator_line_separates_multi_line_keys():
    content = f"{PEM}\n---\n\n{PEM.replace('A', 'C')}\r\n ---\n---\n".encode()

    keys, problems = read(content, split="separator lines", separator="---")

    assert (keys, problems) == ([PEM, PEM.replace("A", "C")], {})


def test_empty_lines_separate_multi_line_keys():
    assert read(b"\nAAAA\n  BBBB\n\n \nCCCC\n", split="empty lines") == (["AAAA\n  BBBB", "CCCC"], {})


@pytest.mark.parametrize("piece", [None, 1])
def test_a_separator_can_be_anywhere(piece):
    assert read(b"AAAA;;BB\nBB;;;;CC;C", split="separators", separator=";;", piece=piece) == (
        ["AAAA", "BB\nBB", "CC;C"],
        {},
    )


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (b"AAAA\n---\n\nBB\nB\0B\n---\nCCCC", {"split": "separator lines", "separator": "---"}),
        (b"AAAA\nA\n\nBB\nB\0B\n\nCCCC", {"split": "empty lines"}),
        (b"AAAA\n##\n\nBB\nB\0B##CCCC", {"split": "separators", "separator": "##"}),
    ],
)
def test_it_reports_a_multi_line_key_by_its_first_line(content, options):
    keys, problems = read(content, **options)

    assert problems == {4: "contains a NUL character"}
    assert len(keys) == 2


def test_a_key_with_too_many_lines_is_too_long():
    content = b"AAAA\n\n" + b"B" * 80 + b"\n" + b"BBBB\n" * 100_000

    assert read(content, split="empty lines")[1] == {3: "is longer than 10000 characters"}


def test_it_reports_the_line_of_a_key_without_a_separator_after_it():
    with pytest.raises(KeyFileError) as caught:
        read(b"AAAA;;\n" + b"BBBB\n" * 1_000_000, split="separators", separator=";;")

    assert caught.value.lines == {1: "is too long for a key"}


# CSV

CSV = {
    "commas": b"Number,License key,Buyer\n1,AAAA-1111,Ada\n2,BBBB-2222,Bob\n",
    "semicolons": b"Number;Serial\r\n1;AAAA-1111\r\n2;BBBB-2222\r\n",
    "tabs": b"1\tAAAA-1111\n2\tBBBB-2222\n",
    "vertical bars": b"a|Key\nb|AAAA-1111\nc|BBBB-2222",
    "a hint for Excel": b"sep=;\nKey;Price\nAAAA-1111;1,50\nBBBB-2222;2,50\n",
    "quotation marks": b'"Name","Key"\n"Byron, Ada","AAAA-1111"\n"O""Neil","BBBB-2222"\n',
    "one column": b'"Seriennummer"\n"AAAA-1111"\n"BBBB-2222"\n',
    "no header": b"AAAA-1111,EUR\nBBBB-2222,EUR\n",
    "UTF-16 from Excel": text("utf-16", "Name\tКлюч\nАда\tAAAA-1111\nБоб\tBBBB-2222\n"),
    "windows-1251": text("cp1251", "Имя;Код\nАда;AAAA-1111\nБоб;BBBB-2222\n"),
    "empty rows and cells": b"Key,Buyer\n\nAAAA-1111,\n,\n,Ada\nBBBB-2222\n",
    "gzip": gzip.compress(b"a,Key\nb,AAAA-1111\nc,BBBB-2222"),
}


@pytest.mark.parametrize("content", CSV.values(), ids=CSV)
@pytest.mark.parametrize("piece", [None, 1])
def test_it_finds_the_keys_in_a_table(content, piece):
    assert read(content, file_name="keys.csv.gz", piece=piece) == (TWO_KEYS, {})


def test_another_column_can_be_chosen():
    assert read(CSV["commas"], file_name="keys.csv", column=3) == (["Ada", "Bob"], {})


def test_the_user_can_choose_that_there_is_no_header():
    assert read(b"Key\nAAAA", file_name="keys.csv", header=False) == (["Key", "AAAA"], {})


def test_it_recognizes_a_table_in_a_text_file_by_its_header():
    assert read(CSV["commas"]) == (TWO_KEYS, {})
    assert read(b"1,AAAA-1111\n2,BBBB-2222\n") == (["1,AAAA-1111", "2,BBBB-2222"], {})


def test_a_cell_can_have_several_lines():
    keys, problems = read(b'Key,Buyer\n"AAAA\r\nBBBB",Ada\nCC\0C,Bob\n', file_name="keys.csv")

    assert (keys, problems) == (["AAAA\nBBBB"], {4: "contains a NUL character"})


def test_it_reports_uneven_rows():
    content = b"Buyer,Key\nAda,AAAA-1111\nBob\nByron,Ada,CCCC-3333\nEve,BBBB-2222,\n"

    assert read(content, file_name="keys.csv") == (TWO_KEYS, {3: "has no column 2", 4: "has 3 columns, not 2"})


@pytest.mark.parametrize("lines_after", [0, 1, 20_000])
def test_it_reports_the_line_of_an_unclosed_quotation_mark(lines_after):
    """Otherwise the rest of the file would become one key, or none."""
    content = b'Key,Buyer\nAAAA,Ada\nBBBB,"Bob\n' + b"CCCC,Ada\n" * lines_after

    with pytest.raises(KeyFileError, match="in line 3 isn’t closed") as caught:
        read(content, file_name="keys.csv")

    assert list(caught.value.lines) == [3]


def test_it_lists_column_names_to_choose_from():
    def columns(content):
        return get_column_names([content], detect([content], {}, file_name="keys.csv"))

    assert columns(CSV["commas"]) == ["1: Number", "2: License key", "3: Buyer"]
    assert columns(CSV["no header"]) == ["1", "2"]
    assert columns(b"") == []


# Without a preview


def test_it_does_not_guess_without_a_preview():
    assert parse_keys(CSV["commas"], {"format": "text"})[1:] == ["1,AAAA-1111,Ada", "2,BBBB-2222,Bob"]
    with pytest.raises(KeyFileError) as caught:
        parse_keys("КЛЮЧ".encode("cp1251"))
    assert caught.value.lines == {1: "isn’t UTF-8 text"}
    assert parse_keys(GOOD["UTF-16"]) == TWO_KEYS


def test_it_uses_the_given_options_without_a_preview():
    assert parse_keys(CSV["windows-1251"], {"encoding": "windows-1251", "format": "csv"}) == TWO_KEYS


def test_it_reports_only_the_problem_of_a_bad_line_not_its_text():
    [line] = read_keys([b"SE\0CRET"], {"encoding": "utf-8", "format": "text", "split": "lines", "separator": ""})

    assert line == KeyLine(1, "", "contains a NUL character")


@pytest.mark.parametrize("content", [b"", b"\n \n", b"Key\n"])
def test_a_table_without_rows_has_no_keys(content):
    with pytest.raises(KeyFileError, match="no license keys"):
        parse_keys(content, {"format": "csv", "header": True})


@pytest.mark.parametrize("option", [{"column": 2}, {"delimiter": ","}, {"header": False}])
def test_table_options_imply_a_table(option):
    """Otherwise whole lines would be imported as keys."""
    assert parse_keys(b"1,AAAA-1\n1,BBBB-2\n", option) == ["AAAA-1", "BBBB-2"]


def test_a_separator_option_implies_text():
    assert detect([b"AAAA;BBBB"], {"split": "separators", "separator": ";"}, file_name="keys.csv")["format"] == "text"
