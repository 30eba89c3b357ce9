"""Finds the column of a table that contains the keys by its heading and values. If unsure, we ask the user."""

import re
from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from statistics import median

from django.utils.translation import gettext, ngettext

from pools.spreadsheets import is_shortened, restore

MAX_NAME = 40  # characters of a heading that we quote
MAX_LISTED = 20  # columns that we offer to choose from


class Heading(IntEnum):
    NOT_KEYS = -1
    NOTHING = 0
    PERHAPS = 1  # "License" and "Code" can mean many things
    KEYS = 2


# These patterns match a case-folded heading whose words are separated by spaces.
KEYS = re.compile(
    r"\b(?:keys?|serials?|passkeys?|s n|clés?|clefs?|claves?|llaves?|chiav[ei]|chaves?|seriale|ключ\w*|klucz\w*"
    r"|klíč\w*|anahtar\w*|nyckel\w*|nøgle\w*|nøkkel\w*|avain\w*)\b"
    r"|schlüssel|schluessel|sleutel|seriennummer|seriennr|serienummer|serial ?(?:number|no|nr)"
    r"|(?:activation|unlock|registration|licen[cs]e|redemption|redeem) ?code"
    r"|(?:aktivierungs?|freischalt\w*|lizenz|registrierungs?|activerings) ?code"
    r"|code d activation|code de licence|numéro de série|código de (?:activación|licencia|ativação|licença)"
    r"|número de s[eé]rie|numero di serie|codice di (?:attivazione|licenza)|numer seryjny|kod aktywac\w*|seri no"
    r"|код активации|серийный номер|код лицензии|密钥|序列号|激活码|注册码|卡密|キー|シリアル|키|시리얼"
)
PERHAPS = re.compile(
    r"\b(?:codes?|kody?|codici|codice|códigos?|licen[cs]es?|licencias?|licenz[ae]|licenças?|licenties?|lizenz\w*"
    r"|kennung|tokens?|pins?|коды?|лицензи\w*|licencj\w*)\b|许可证|ライセンス|라이선스"
)
# "Key ID" and "License type" describe a key.
ABOUT_A_KEY = re.compile(
    r"\b(?:ids?|uuid|guid|types?|tipos?|тип|kinds?|art|status|states?|estado|état|stato|статус|states?|names?|nom|nombre"
    r"|nome|имя|dates?|fecha|дата|created|expir\w+|valid|gültig\w*|counts?|quantity|qty|menge|versions?|edition"
    r"|length|hash|checksum|size|notes?|comments?|kommentar|description|beschreibung|owner)\b"
    r"|\w(?:typ|status|datum|anzahl|name|länge)\b|\b(?:typ|datum|anzahl)\b"
)
# "Product code" and "Promo code" are codes of something else; a "Product key" is a key.
ABOUT_SOMETHING_ELSE = re.compile(
    r"\b(?:products?|produkt\w*|produit|producto|prodotto|продукт|sku|articles?|artikel\w*|items?|orders?|bestell\w*"
    r"|заказ|invoices?|rechnung\w*|countr(?:y|ies)|land|länder\w*|pays|país|страна|languages?|sprache|locale|currency"
    r"|währung\w*|валюта|promo\w*|discounts?|rabatt\w*|coupons?|gutschein\w*|customers?|kunden?\w*|client\w*|buyers?"
    r"|käufer|покупатель|users?|compan(?:y|ies)|firma|vendors?|sellers?|shops?|e ?mails?|phone|zip|postal|plz|area"
    r"|regions?|prices?|preis\w*|prix|precio|цена|amount|total|tax|vat|index|rows?|zeile|lines?|pos|position|bar|qr"
    r"|error|color|colour|source|status|numbers?|no|nr|nummer|num|номер|#)\b|^#$"
)


def judge_heading(name: str) -> Heading:
    """Judge whether a heading names keys. `LicenseKey`, `license_key` and `LICENSE KEY` are equivalent."""
    if "\n" in name:
        return Heading.NOTHING
    spaced = re.sub(r"(?<=[a-zäöüа-я])(?=[A-ZÄÖÜА-Я])", " ", name)
    words = re.sub(r"[^\w#]+|_+", " ", spaced).strip().casefold()
    if ABOUT_A_KEY.search(words):
        return Heading.NOT_KEYS
    if KEYS.search(words):
        return Heading.KEYS
    if re.fullmatch(r"(?:licen[cs]e|key) (?:number|no|nr)|lizenz ?(?:nummer|nr)|номер лицензии", words):
        return Heading.PERHAPS
    if ABOUT_SOMETHING_ELSE.search(words):
        return Heading.NOT_KEYS
    return Heading.PERHAPS if PERHAPS.search(words) else Heading.NOTHING


def is_heading(name: str) -> bool:
    return judge_heading(name) != Heading.NOTHING


# The format of keys


class KeyFormat:
    """What keys have in common: the lengths of their groups, the punctuation between them, and the leading word."""

    MIN_KEYS = 10  # fewer keys say nothing about a common format

    def __init__(self, keys: list[str]) -> None:
        shapes, words = Counter(map(shape, keys)), Counter(map(first_word, keys))
        # Shapes of at least one key in ten.
        self.shapes = {known for known, count in shapes.items() if count >= max(len(keys) / 10, 2)}
        # The first group of a random key can consist of letters by chance, but not twice.
        self.words = set(words) if len(words) <= 3 and min(words.values(), default=0) >= 2 else None
        self.is_known = len(keys) >= self.MIN_KEYS and self.match_rate(keys) >= 0.8

    def match_rate(self, keys: list[str]) -> float:
        """The share of keys that have this format, from 0 to 1."""
        matches = (shape(key) in self.shapes and (self.words is None or first_word(key) in self.words) for key in keys)
        return sum(matches) / max(len(keys), 1)

    def __str__(self) -> str:
        return " or ".join(known[:60] for known in sorted(self.shapes)[:3])


def shape(key: str) -> str:
    """Return `AAAAA-AAAAA`, or `99999-99999` for a key without letters."""
    return re.sub(r"[^\W_]", "A" if any(map(str.isalpha, key)) else "9", key)


def first_word(key: str) -> str:
    """Return the letters before the first punctuation mark, such as a product name."""
    found = re.match(r"[^\W\d_]+(?=[\W_])", key)
    return found[0] if found else ""


# The values of a column

DATE = re.compile(r"\d{4}[-/.]\d\d?[-/.]\d\d?([T ]\d\d?:\d\d.*)?|\d\d?[-/.]\d\d?[-/.](\d\d|\d{4})( \d\d?:\d\d.*)?")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.\w+")
AMOUNT = re.compile(r"[^\w\s]?\s?-?\d{1,3}([.,\s]?\d{3})*[.,]\d\d(\s?\S{1,3})?")


def find_objection(values: list[str], rows: int) -> str:
    """Say why these values of a column can't be license keys; empty if they can. `rows` counts blank cells, too."""
    count, different = len(values), len(set(values))
    if not values:
        return gettext("is empty")
    if sum(map(is_shortened, values)) >= count / 2:
        return gettext("contains numbers that a spreadsheet shortened, losing digits; export it as text")
    if count >= 2 and different == 1:
        return gettext("contains a single repeated value")
    if count >= 3 and different < 0.6 * count:
        return gettext("repeats its values")
    objections = {
        DATE: gettext("contains dates"),
        EMAIL: gettext("contains e-mail addresses"),
        AMOUNT: gettext("contains amounts"),
    }
    for pattern, objection in objections.items():
        if sum(pattern.fullmatch(value) is not None for value in values) >= 0.9 * count:
            return objection
    if is_counter(values):
        return gettext("contains consecutive numbers")
    if max(map(len, values)) <= 3:
        return gettext("contains values that are too short")
    return gettext("is mostly empty") if count < rows / 2 else ""


def is_counter(values: list[str]) -> bool:
    if len(values) < 2 or not all(re.fullmatch(r"\d{1,15}", value) for value in values):
        return False
    numbers = [int(value) for value in values]
    if len(numbers) == 2 and numbers[0] > 1:
        return False  # probably a coincidence
    return all(after - before == 1 for before, after in zip(numbers, numbers[1:], strict=False))


def look_like_keys(values: list[str]) -> bool:
    """Whether values are long enough, have no spaces, and have digits or one shape, unlike names and words."""
    if not values or median(map(len, values)) < 8 or median(" " in value for value in values):
        return False
    [(_, most)] = Counter(map(shape, values)).most_common(1)
    with_digits = sum(any(map(str.isdigit, value)) for value in values)
    return with_digits >= len(values) / 2 or (len(values) >= 3 and most >= 0.8 * len(values))


@dataclass(frozen=True)
class Column:
    number: int  # from 1
    name: str
    values: list[str]
    objection: str
    matches_pool: bool

    @property
    def heading(self) -> Heading:
        return judge_heading(self.name)

    @property
    def label(self) -> str:
        return f"{self.number} “{self.name}”" if self.name else f"{self.number}"

    @property
    def about(self) -> str:
        """Describe the values without quoting any."""
        if not self.values:
            return gettext("is empty")
        shortest, longest = min(map(len, self.values)), max(map(len, self.values))
        length = str(longest)
        if shortest < longest:
            length = gettext("{shortest} to {longest}").format(shortest=shortest, longest=longest)
        count = len(set(self.values))
        values = ngettext(
            "{count} different value with {length} characters",
            "{count} different values with {length} characters",
            count,
        ).format(count=count, length=length)
        return f"{self.objection}; {values}" if self.objection else values

    @property
    def can_contain_keys(self) -> bool:
        return not self.objection and self.heading != Heading.NOT_KEYS


def is_ambiguous(chosen: Column, other: Column) -> bool:
    """Whether another column contains keys of the same shape."""
    if other is chosen or not look_like_keys(other.values):
        return False
    [shapes, others] = [Counter(map(shape, column.values)).most_common(1)[0][0] for column in (chosen, other)]
    return shapes == others


def get_columns(rows: list[list[str]], *, header: bool, known: list[str]) -> list[Column]:
    """Describe the columns of a table's first rows. `known` are keys already in the pool."""
    pool_format = KeyFormat(known)
    names, body = (rows[0], rows[1:]) if header and rows else ([], rows)
    columns = []
    for number in range(1, max(map(len, rows[:1]), default=0) + 1):
        values = [restore(row[number - 1].strip()) for row in body if len(row) >= number and row[number - 1].strip()]
        name = names[number - 1].strip()[:MAX_NAME] if names else ""
        matches_pool = pool_format.is_known and bool(values) and pool_format.match_rate(values) >= 0.8
        columns.append(Column(number, name, values, find_objection(values, len(body)), matches_pool))
    return columns


def choose(columns: list[Column]) -> tuple[Column | None, str]:
    """Return the column that contains the keys, and the reason; None if unsure."""
    if len(columns) <= 1 or not any(column.values for column in columns):
        named = [column for column in columns if column.heading == Heading.KEYS]
        return next(iter(named or columns), None), gettext("it is the only column") if len(columns) == 1 else ""

    named = [column for column in columns if column.heading == Heading.KEYS]
    matching = [column for column in columns if column.matches_pool and not column.objection]
    if len(matching) == 1 and (matching[0].heading != Heading.NOT_KEYS or not named):
        return matching[0], gettext("its values look like the keys of this pool")

    possible = [column for column in columns if column.can_contain_keys and (not matching or column in matching)]
    if named:
        # If the values contradict the heading, we are unsure, too.
        likely = [column for column in named if column in possible]
        is_clear = len(likely) == 1 and not any(is_ambiguous(likely[0], column) for column in possible)
        return (likely[0], gettext("its heading says so, and its values could be keys")) if is_clear else (None, "")
    if len(possible) == 1:
        return possible[0], gettext("it is the only one whose values could be keys")
    likely = [column for column in possible if look_like_keys(column.values)]
    is_contradicted = any(column.heading == Heading.PERHAPS for column in possible if column not in likely)
    if len(likely) == 1 and not is_contradicted:
        return likely[0], gettext("it is the only one whose values look like keys")
    return None, ""
