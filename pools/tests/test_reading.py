"""What comes of files as merchants have them: a result, or an error that names the line."""

import codecs
import gzip
import io
import zipfile

import pytest

from pools import reading
from pools.detection import detect, get_column_names, parse_keys
from pools.reading import KeyFileError, KeyLine, read_keys, unpack

TWO = ["AAAA-1111", "BBBB-2222"]


def read(content, *, file_name="", piece=None, **options):
    """The keys of a content, and what is wrong at which lines, as an import finds them."""
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
    "UTF-16 with the other BOM": codecs.BOM_UTF16_BE + text("utf-16-be"),
    "UTF-16 without BOM": text("utf-16-le"),
    "UTF-16 without BOM, the other": text("utf-16-be"),
    "gzip": gzip.compress(text("utf-8")),
    "gzip in two members": gzip.compress(b"AAAA-1111\nBB") + gzip.compress(b"BB-2222"),
    "gzip of UTF-16": gzip.compress(text("utf-16")),
    "gzip filled up with zeros": gzip.compress(text("utf-8")) + bytes(512),
    "spaces and tabs around": b"  AAAA-1111\t\n\tBBBB-2222  \n \t \n",
    "no-break and zero-width around": "\u00a0AAAA-1111\u200b\n\ufeffBBBB-2222\u3000".encode(),
    "marks of direction around": "\u202aAAAA-1111\u202c\n\u200fBBBB-2222\u200e".encode(),
    "two files one behind the other": codecs.BOM_UTF8 + b"AAAA-1111\n" + codecs.BOM_UTF8 + b"BBBB-2222\n",
}


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD)
@pytest.mark.parametrize("piece", [None, 1, 3])
def test_it_reads_one_key_a_line(content, piece):
    assert read(content, piece=piece) == (TWO, {})


AS_TYPED = {
    "blanks inside": "AAAA  BBBB\tCCCC",
    "quotation marks": '"AAAA-BBBB"',
    "commas": "AAAA,BBBB",
    "a formula": "=1+1",
    "another formula": "@SUM(A1)",
    "a link to a file": "https://dl.example/?a=1&b=2#c",
    "markup": "<script>alert(1)</script>",
    "accents": "clé-élève-12",
    "Cyrillic": "КЛЮЧ-1234",
    "a joiner inside": "क्‍ष-12",
    "a line separator of Unicode inside": "AAAA\u2028BBBB",
}


@pytest.mark.parametrize("key", AS_TYPED.values(), ids=AS_TYPED)
def test_a_key_is_what_was_typed(key):
    assert read(f"{key}\nBBBB".encode()) == ([key, "BBBB"], {})


BAD = {
    "NUL": (b"AAAA-AAAA\nBB\0BB\nCCCC-CCCC", {2: "contains a NUL character"}),
    "control characters": (
        b"AAAA-AAAA\nBB\x07BB\nCCCC\x1bDDDD\n",
        dict.fromkeys([2, 3], "contains a control character"),
    ),
    "no UTF-8": ("clé\n".encode() + b"BB\xffBB\n", {2: "isn’t UTF-8 text"}),
    "half a character of UTF-16": (text("utf-16", "AAAA\nBBBB")[:-1], {2: "isn’t UTF-16 text"}),
    "too long": (b"AAAA\n\n" + b"B" * 10_001, {3: "is longer than 10000 characters"}),
    "a line of a megabyte": (b"AAAA\n" + b"B" * 1_000_000 + b"\nCCCC", {2: "is longer than 10000 characters"}),
}


@pytest.mark.parametrize(("content", "problems"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("piece", [None, 1024])
def test_it_names_each_line_that_cannot_be_a_key_and_reads_the_others(content, problems, piece):
    keys, found = read(content, piece=piece)

    assert found == problems
    assert len(keys) + len(problems) == len([line for line in content.split(b"\n") if line])


def test_the_longest_key_is_a_key():
    assert read(b"B" * 10_000) == (["B" * 10_000], {})


REFUSED = {
    "a workbook": (zipped("[Content_Types].xml", "xl/workbook.xml"), "Excel workbook. Save it as CSV"),
    "a document": (zipped("word/document.xml"), "Word document"),
    "an archive": (zipped("keys.txt"), "ZIP archive. Extract it"),
    "a workbook in a gzip": (gzip.compress(zipped("xl/workbook.xml")), "Excel workbook"),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), "old Excel"),
    "a PDF": (b"%PDF-1.7\n%\xe2\xe3", "PDF document"),
    "a program": (b"\x7fELF\x02\x01\x01" + bytes(64), "isn’t a text file"),
    "a gzip cut off": (gzip.compress(text("utf-8"))[:-6], "file is incomplete"),
    "the head of a gzip": (b"\x1f\x8b", "file is incomplete"),
    "a damaged gzip": (gzip.compress(text("utf-8"))[:-8] + bytes(8), "damaged"),
    "a gzip with something behind it": (gzip.compress(text("utf-8")) + b"AAAA", "followed by other data"),
    "a gzip in a gzip": (gzip.compress(gzip.compress(b"AAAA")), "gzipped twice"),
    "a gzip of a thousand pieces": (gzip.compress(b"A\n") * 1000, "too many parts"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("piece", [None, 1000])
def test_what_is_no_text_is_refused_in_words_one_can_act_on(content, message, piece):
    with pytest.raises(KeyFileError, match=message):
        read(content, piece=piece)


def test_a_gzip_that_unpacks_to_far_too_much_is_unpacked_no_further(monkeypatch):
    monkeypatch.setattr(reading, "MAX_SIZE", 3 * reading.PIECE_SIZE)
    bomb = gzip.compress(b"AAAA\n" * 10_000_000)
    pieces = unpack([bomb])

    with pytest.raises(KeyFileError, match="larger than 3 MiB"):
        assert [len(piece) for piece in pieces] == []
    assert len(bomb) < 100_000


def test_a_file_of_empty_lines_is_read_no_further(monkeypatch):
    monkeypatch.setattr(reading, "MAX_LINES", 1000)

    with pytest.raises(KeyFileError, match="more than 1,000 lines"):
        read(b"\n" * 2000)


# Encodings


def test_windows_1251_is_told_from_utf_8_by_what_is_no_utf_8():
    assert read("КЛЮЧ-1\nКЛЮЧ-2".encode("cp1251")) == (["КЛЮЧ-1", "КЛЮЧ-2"], {})


def test_another_encoding_can_be_chosen():
    assert read("clé".encode("cp1252"), encoding="windows-1252") == (["clé"], {})
    assert read(text("utf-16-be"), encoding="utf-16-be") == (TWO, {})


def test_what_a_chosen_encoding_cannot_say_is_named_by_line():
    assert read(b"AAAA\nBB\x98B", encoding="windows-1251") == (["AAAA"], {2: "isn’t windows-1251 (Cyrillic) text"})


# Keys of several lines

PEM = "-----BEGIN LICENSE-----\nAAAA\n\nBBBB\n-----END LICENSE-----"


def test_a_separator_on_a_line_of_its_own_parts_keys_of_several_lines():
    content = f"{PEM}\n---\n\n{PEM.replace('A', 'C')}\r\n ---\n---\n".encode()

    keys, problems = read(content, split="separator lines", separator="---")

    assert (keys, problems) == ([PEM, PEM.replace("A", "C")], {})


def test_empty_lines_part_keys_of_several_lines():
    assert read(b"\nAAAA\n  BBBB\n\n \nCCCC\n", split="empty lines") == (["AAAA\n  BBBB", "CCCC"], {})


@pytest.mark.parametrize("piece", [None, 1])
def test_a_separator_may_stand_anywhere(piece):
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
def test_a_key_of_several_lines_is_named_by_its_first(content, options):
    keys, problems = read(content, **options)

    assert problems == {4: "contains a NUL character"}
    assert len(keys) == 2


def test_a_key_of_too_many_lines_is_too_long():
    content = b"AAAA\n\n" + b"B" * 80 + b"\n" + b"BBBB\n" * 100_000

    assert read(content, split="empty lines")[1] == {3: "is longer than 10000 characters"}


def test_a_separator_that_never_comes_is_told_by_line():
    with pytest.raises(KeyFileError) as caught:
        read(b"AAAA;;\n" + b"BBBB\n" * 1_000_000, split="separators", separator=";;")

    assert caught.value.lines == {1: "is too long for a key"}


# CSV

CSV = {
    "commas": b"Number,License key,Buyer\n1,AAAA-1111,Ada\n2,BBBB-2222,Bob\n",
    "semicolons": b"Number;Serial\r\n1;AAAA-1111\r\n2;BBBB-2222\r\n",
    "tabs": b"1\tAAAA-1111\n2\tBBBB-2222\n",
    "bars": b"a|Key\nb|AAAA-1111\nc|BBBB-2222",
    "a hint for Excel": b"sep=;\nKey;Price\nAAAA-1111;1,50\nBBBB-2222;2,50\n",
    "quotation marks": b'"Name","Key"\n"Byron, Ada","AAAA-1111"\n"O""Neil","BBBB-2222"\n',
    "one column": b'"Seriennummer"\n"AAAA-1111"\n"BBBB-2222"\n',
    "no header": b"AAAA-1111,EUR\nBBBB-2222,EUR\n",
    "UTF-16, as Excel has it": text("utf-16", "Name\tКлюч\nАда\tAAAA-1111\nБоб\tBBBB-2222\n"),
    "windows-1251": text("cp1251", "Имя;Код\nАда;AAAA-1111\nБоб;BBBB-2222\n"),
    "empty rows and cells": b"Key,Buyer\n\nAAAA-1111,\n,\n,Ada\nBBBB-2222\n",
    "gzip": gzip.compress(b"a,Key\nb,AAAA-1111\nc,BBBB-2222"),
}


@pytest.mark.parametrize("content", CSV.values(), ids=CSV)
@pytest.mark.parametrize("piece", [None, 1])
def test_it_finds_the_keys_in_a_table(content, piece):
    assert read(content, file_name="keys.csv.gz", piece=piece) == (TWO, {})


def test_another_column_can_be_chosen():
    assert read(CSV["commas"], file_name="keys.csv", column=3) == (["Ada", "Bob"], {})


def test_a_header_can_be_denied():
    assert read(b"Key\nAAAA", file_name="keys.csv", header=False) == (["Key", "AAAA"], {})


def test_a_table_in_a_text_is_known_by_its_header():
    assert read(CSV["commas"]) == (TWO, {})
    assert read(b"1,AAAA-1111\n2,BBBB-2222\n") == (["1,AAAA-1111", "2,BBBB-2222"], {})


def test_a_cell_may_have_several_lines():
    keys, problems = read(b'Key,Buyer\n"AAAA\r\nBBBB",Ada\nCC\0C,Bob\n', file_name="keys.csv")

    assert (keys, problems) == (["AAAA\nBBBB"], {4: "contains a NUL character"})


def test_uneven_rows_are_named_by_line():
    content = b"Buyer,Key\nAda,AAAA-1111\nBob\nByron,Ada,CCCC-3333\nEve,BBBB-2222,\n"

    assert read(content, file_name="keys.csv") == (TWO, {3: "has no column 2", 4: "has 3 columns, not 2"})


@pytest.mark.parametrize("lines_after", [0, 1, 20_000])
def test_a_quotation_mark_that_is_not_closed_is_told_by_line(lines_after):
    """Or all that follows would be one key, or of no key at all."""
    content = b'Key,Buyer\nAAAA,Ada\nBBBB,"Bob\n' + b"CCCC,Ada\n" * lines_after

    with pytest.raises(KeyFileError, match="in line 3 isn’t closed") as caught:
        read(content, file_name="keys.csv")

    assert list(caught.value.lines) == [3]


def test_columns_have_names_to_choose_from():
    def columns(content):
        return get_column_names([content], detect([content], {}, file_name="keys.csv"))

    assert columns(CSV["commas"]) == ["1: Number", "2: License key", "3: Buyer"]
    assert columns(CSV["no header"]) == ["1", "2"]
    assert columns(b"") == []


# Where nobody looks at it first


def test_nothing_is_guessed_where_nobody_looks():
    assert parse_keys(CSV["commas"], {"format": "text"})[1:] == ["1,AAAA-1111,Ada", "2,BBBB-2222,Bob"]
    with pytest.raises(KeyFileError) as caught:
        parse_keys("КЛЮЧ".encode("cp1251"))
    assert caught.value.lines == {1: "isn’t UTF-8 text"}
    assert parse_keys(GOOD["UTF-16"]) == TWO


def test_what_it_is_told_is_no_guess():
    assert parse_keys(CSV["windows-1251"], {"encoding": "windows-1251", "format": "csv"}) == TWO


def test_the_problem_is_all_that_is_said_of_a_bad_line():
    [line] = read_keys([b"SE\0CRET"], {"encoding": "utf-8", "format": "text", "split": "lines", "separator": ""})

    assert line == KeyLine(1, "", "contains a NUL character")


@pytest.mark.parametrize("content", [b"", b"\n \n", b"Key\n"])
def test_a_table_without_rows_holds_no_key(content):
    with pytest.raises(KeyFileError, match="no license keys"):
        parse_keys(content, {"format": "csv", "header": True})


@pytest.mark.parametrize("option", [{"column": 2}, {"delimiter": ","}, {"header": False}])
def test_who_speaks_of_columns_means_a_table(option):
    """Or whole lines would come in as keys."""
    assert parse_keys(b"1,AAAA-1\n1,BBBB-2\n", option) == ["AAAA-1", "BBBB-2"]


def test_who_speaks_of_separators_means_a_text():
    assert detect([b"AAAA;BBBB"], {"split": "separators", "separator": ";"}, file_name="keys.csv")["format"] == "text"
