"""Detection of the column that contains the keys."""

import random

import pytest

from pools.columns import Heading, judge_heading
from pools.detection import ColumnInDoubt, FormatInDoubt, detect, get_column_names, parse_keys
from pools.reading import read_keys
from pools.tests.test_warnings import make_keys

ROWS = 12
COUNTER = [str(number) for number in range(1, ROWS + 1)]
NUMBERS = [str(number) for number in random.Random(7).sample(range(10_000, 99_999), ROWS)]
STATUS = ["unused", "used", "unused"] * (ROWS // 3)
TYPE = ["Pro", "Lite"] * (ROWS // 2)
FOTO = ["FOTO"] * ROWS
COUNTRY = ["DE", "FR", "US", "GB"] * (ROWS // 4)
DATES = [f"2026-01-{day:02}" for day in range(1, ROWS + 1)]
EMAILS = [f"buyer{number}@example.com" for number in range(ROWS)]
AMOUNTS = [f"{number}.50" for number in range(ROWS)]
NAMES = ["Ada", "Bob", "Eve", "Mallory", "Zoë", "Grace", "Alan", "Linus", "Ken", "Dennis", "Barbara", "Donald"]
PROMO = make_keys("XXXXXX", ROWS)
KEYS = make_keys("XXXXX-XXXXX-XXXXX", ROWS)
IDS = make_keys("lic_XXXXXXXX", ROWS)
UUIDS = make_keys("XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX", ROWS)
URLS = [f"https://dl.example/{number}/{key}.zip" for number, key in enumerate(PROMO)]


def table(heading, *columns, delimiter=","):
    rows = [delimiter.join(row) for row in zip(*columns, strict=True)]
    return "\n".join([heading, *rows] if heading else rows).encode()


def choose_column(content, known=None):
    read_as = detect([content], {"format": "csv"}, known=known)
    return read_as["column"], read_as["column_because"]


CERTAIN = {
    "License ID,License Key,Status": ([COUNTER, KEYS, STATUS], 2),
    "Product Code,License Key": ([FOTO, KEYS], 2),
    "License type,Serial number": ([TYPE, KEYS], 2),
    "Country code;Lizenzschlüssel": ([COUNTRY, KEYS], 2),
    "Key ID,Key": ([NUMBERS, KEYS], 2),
    "License,Activation Code": ([TYPE, KEYS], 2),
    "Promo code,Key": ([PROMO, KEYS], 2),
    # Identifiers as varied as keys
    "license_id,license_key": ([UUIDS, KEYS], 2),
    "LicenseKeyId,LicenseKey": ([IDS, KEYS], 2),
    "key,key type,key status": ([KEYS, TYPE, STATUS], 1),
    "Order number,Product key": ([NUMBERS, KEYS], 2),
    "Error code|Activation code": ([NUMBERS, KEYS], 2),
    "Voucher,Code": ([TYPE, KEYS], 2),
    "License,Owner": ([KEYS, NAMES], 1),
    "Code,Customer code": ([KEYS, IDS], 1),
    "Version,Unlock code,Expires": ([["1.0"] * ROWS, KEYS, DATES], 2),
    "S/N,Sold to": ([KEYS, EMAILS], 1),
    "Key,License,Price": ([KEYS, TYPE, AMOUNTS], 1),
    "SKU,Passkey": ([FOTO, KEYS], 2),
    "URL,Key": ([URLS, KEYS], 2),
    # Other languages
    "Nr;Seriennummer;Datum": ([COUNTER, KEYS, DATES], 2),
    "Lizenztyp;Lizenznummer": ([TYPE, KEYS], 2),
    "Schlüssel-ID;Schlüssel": ([IDS, KEYS], 2),
    "Ländercode;Freischaltcode": ([COUNTRY, KEYS], 2),
    "Code pays;Clé de licence": ([COUNTRY, KEYS], 2),
    "Code produit;Numéro de série": ([IDS, KEYS], 2),
    "Tipo de licencia;Clave": ([TYPE, KEYS], 2),
    "Código de país;Código de activación": ([COUNTRY, KEYS], 2),
    "Codice prodotto;Chiave": ([IDS, KEYS], 2),
    "Código do produto;Número de série": ([IDS, KEYS], 2),
    "Licentie;Sleutel": ([TYPE, KEYS], 2),
    "Kod produktu;Klucz": ([IDS, KEYS], 2),
    "Код страны;Лицензионный ключ": ([COUNTRY, KEYS], 2),
    "Тип;Серийный номер": ([TYPE, KEYS], 2),
    "产品,激活码": ([FOTO, KEYS], 2),
    # Meaningless headings
    "A,B": ([TYPE, KEYS], 2),
    "Wert;Notiz": ([KEYS, NAMES], 1),
    # No headings
    "": ([COUNTER, KEYS, FOTO], 2),
    " ": ([KEYS, DATES, EMAILS], 1),
    "  ": ([NAMES, KEYS], 2),
    "   ": ([KEYS], 1),
    # One column
    "License Key": ([KEYS], 1),
    "Whatever": ([KEYS], 1),
}


def get_delimiter(heading):
    return next((sign for sign in ";|" if sign in heading), ",")


@pytest.mark.parametrize(("heading", "columns", "column"), [(name, *rest) for name, rest in CERTAIN.items()])
def test_it_finds_the_column(heading, columns, column):
    found, reason = choose_column(table(heading.strip(), *columns, delimiter=get_delimiter(heading)))

    assert (found, bool(reason)) == (column, True)


@pytest.mark.parametrize("heading", list(CERTAIN)[:12])
@pytest.mark.parametrize("rows", [1, 2])
def test_a_few_rows_are_enough_when_the_heading_is_clear(heading, rows):
    columns, column = CERTAIN[heading]

    cut = [values[:rows] for values in columns]
    assert choose_column(table(heading, *cut, delimiter=get_delimiter(heading)))[0] == column


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_delimiters_and_quotation_marks_change_nothing(delimiter, quote):
    cells = [[f"{quote}{value}{quote}" for value in values] for values in (COUNTER, KEYS)]
    heading = delimiter.join(f"{quote}{name}{quote}" for name in ("License ID", "License Key"))

    assert choose_column(table(heading, *cells, delimiter=delimiter))[0] == 2


DOUBTFUL = {
    "two headings that mean keys": ("Serial number,License key", [IDS, KEYS]),
    "two possible columns, no clear heading": ("A,B", [IDS, KEYS]),
    "no headings": ("", [UUIDS, KEYS]),
    "a link and a key": ("Link,Value", [URLS, KEYS]),
    "heading that means keys, repeated values": ("Key,Value", [TYPE, KEYS]),
    "heading that means keys, consecutive numbers": ("Key,Value", [COUNTER, KEYS]),
    "no column that looks like keys": ("Date,Price", [DATES, AMOUNTS]),
    "a license or a code": ("License,Code", [IDS, KEYS]),
    "two columns of keys with the same shape": ("Serial,Code", [make_keys("XXXXX-XXXXX-XXXXX", ROWS), KEYS]),
    "only constant values": ("Key,Status", [FOTO, STATUS]),
}


@pytest.mark.parametrize(("heading", "columns"), DOUBTFUL.values(), ids=DOUBTFUL)
def test_it_asks_when_in_doubt_without_quoting_values(heading, columns):
    with pytest.raises(ColumnInDoubt, match="Which column contains the license keys") as caught:
        choose_column(table(heading, *columns))

    assert [candidate["column"] for candidate in caught.value.candidates] == [1, 2]
    assert not any(value in str(caught.value) for value in KEYS + IDS + URLS + UUIDS)


def test_it_chooses_the_column_that_looks_like_the_pools_keys():
    content = table("Serial number,License key", IDS, KEYS)

    assert choose_column(content, make_keys("XXXXX-XXXXX-XXXXX"))[0] == 2
    assert choose_column(content, make_keys("lic_XXXXXXXX")) == (1, "its values look like the keys of this pool")
    assert choose_column(table("Id,Text", KEYS, IDS), make_keys("XXXXX-XXXXX-XXXXX"))[0] == 1


def test_it_does_not_take_a_group_of_only_letters_for_a_product_name():
    known = ["ABCDE-F3GH4-5JKL6", *(f"7B{number}E-F3GH4-5JKL6" for number in range(10, 30))]

    assert choose_column(table("Serial number,License key", IDS, KEYS), known)[0] == 2


def test_it_does_not_ask_when_the_user_chose_a_column():
    assert detect([table("A,B", IDS, KEYS)], {"format": "csv", "column": 1})["column"] == 1


def test_it_explains_its_choice():
    assert choose_column(table("License ID,License Key", COUNTER, KEYS))[1] == (
        "its heading says so, and its values could be keys"
    )
    assert choose_column(table("", COUNTER, KEYS))[1] == "it is the only one whose values could be keys"


HEADINGS = {
    Heading.KEYS: ["KEY", "LicenseKey", "license_keys", "Serial", "serial-no", "Produktschlüssel", "cd key", "密钥"],
    Heading.PERHAPS: ["Code", "licence", "Lizenz", "License number", "код", "Token"],
    Heading.NOT_KEYS: ["Key ID", "keyType", "License status", "Key length", "Product code", "promo_code", "Bar code"],
    Heading.NOTHING: ["Monkey", "Keyboard", "Decoder", "A", "", "Idea"],
}


@pytest.mark.parametrize(
    ("verdict", "name"), [(verdict, name) for verdict, names in HEADINGS.items() for name in names]
)
def test_it_understands_headings(verdict, name):
    assert judge_heading(name) == verdict


def test_a_heading_can_contain_a_digit():
    read_as = detect([table("License key 2,Buyer 2", KEYS, NAMES)], {"format": "csv"})

    assert (read_as["header"], read_as["column"]) == (True, 1)
    assert not detect([b"KEY 1234\nKEY 5678\nKEY 9999"], {"format": "csv"})["header"]


# Pasted content, without a file name


def test_it_recognizes_a_table_without_headings_by_its_columns():
    assert detect([table("", COUNTER, KEYS)], {})["column"] == 2


@pytest.mark.parametrize(
    "content",
    [
        table("", IDS, KEYS),  # could also be keys that contain commas
        b"\n".join(b'{"id": %d, "pro": 1}' % number for number in range(9)),
        b"\n".join(f"{key}, {name}".encode() for key, name in zip(KEYS[:2], NAMES, strict=False)),
    ],
    ids=["table", "json", "names"],
)
def test_keys_can_contain_commas(content):
    assert detect([content], {})["format"] == "text"


@pytest.mark.parametrize("content", [table("", COUNTER, KEYS), table("Product code,License Key", FOTO, KEYS)])
def test_without_a_preview_it_does_not_read_a_table_as_lines(content):
    with pytest.raises(FormatInDoubt):
        parse_keys(content)

    assert parse_keys(content, {"format": "csv"}) == KEYS
    assert len(parse_keys(content, {"format": "text"})) >= ROWS


@pytest.mark.parametrize(
    "title", ["Export 2026-11-29,,\n,,\n", "Export 2026-11-29\n\n", "Licenses of Northlight,,\nMade 2026,,\n"]
)
@pytest.mark.parametrize("options", [{}, {"column": 2}, {"header": True}])
def test_it_ignores_lines_above_the_headings(title, options):
    content = title.encode() + table("ID,License Key,Note", COUNTER, KEYS, NAMES)

    read_as = detect([content], {"format": "csv"} | options)

    lines = list(read_keys([content], read_as))
    assert [line.key for line in lines if line.key] == KEYS
    assert not any(line.problem for line in lines)
    assert get_column_names([content], read_as) == ["1: ID", "2: License Key", "3: Note"]


def test_without_headings_a_first_row_with_one_value_is_not_a_title():
    content = table("", ["", *NAMES[1:]], KEYS)

    read_as = detect([content], {"format": "csv"})

    assert [line.key for line in read_keys([content], read_as)] == KEYS


def test_a_first_key_without_a_digit_is_not_a_heading():
    keys = ["NKCDE-VDBJE-NUHDQ", *KEYS[1:]]

    for content in (table("", ["", *NAMES[1:]], keys), table("", keys, COUNTER), table("", NAMES, keys)):
        read_as = detect([content], {"format": "csv"})
        assert [line.key for line in read_keys([content], read_as)] == keys
