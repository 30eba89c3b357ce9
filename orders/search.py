"""One search box for whatever a customer quotes, however it is written.

Pages, the admin and the API's filters all read a text here.
"""

import re
import unicodedata
from urllib.parse import quote, unquote

from django.db.models import TextChoices, Value

from merchants.models import Product
from orders.license_texts import HINT_LENGTH, letters, loose_fingerprint
from orders.models import ActivationCode, OrderQuerySet
from vault.fingerprints import fingerprint

MAX_SEARCH = 20_000  # characters: the longest license, with a browser's line breaks
# A longer text is a license, or nothing that we know.
MAX_QUOTED = 7000
MAX_CUSTOMER = 300
# Below this a text says too little, and its trigrams too, for a look at parts of names.
MIN_PART = 3
MAX_NUMBERS = 100
MAX_ENDING = 100  # letters and digits at the end of a license: some characters, or its last line
MAX_SAME_HINT = 1000
MAX_DIGESTS = 20
MAX_ADDRESS = 2000  # characters of a search that become part of a page's address, encoded

QUOTES = " \t\n\"'“”„‚‘’«»‹›()[]{}<>.,;:!?"
DASHES = re.compile("[\u2010-\u2015\u2212]")
EMAIL = re.compile(r"[^\s<>()\[\]\"“”„«»,;:@]+@[^\s<>()\[\]\"“”„«»,;:@?]+")
SEPARATORS = re.compile(r"[,;\t\n]+")
# "License key: AAAA-BBBB", "Serial number = 1234-5678"
LABEL = re.compile(r"\w[\w .-]{0,30}[:=]\s*(?=\S)")


class Kind(TextChoices):
    """What a text turned out to be, the surest first."""

    LICENSE = "license", "license text"
    SIMILAR = "similar", "license text apart from case, blanks and punctuation"
    EMAIL = "email", "e-mail address"
    NUMBER = "number", "order number"
    ENDING = "ending", "last characters of a license text"
    SKU = "sku", "SKU"
    CUSTOMER = "customer", "customer’s address or name"


# If one of these finds something, what the text is taken for as well is the same license.
OTHER_LICENSES = {Kind.LICENSE: {Kind.SIMILAR, Kind.ENDING}, Kind.SIMILAR: {Kind.ENDING}}


def clean(text: str) -> str:
    """The text without what nobody sees, in plain characters, and without the quotation marks and stops around it."""
    plain = unicodedata.normalize("NFKC", text)
    shown = "".join(character for character in plain if character.isspace() or unicodedata.category(character) != "Cf")
    return " ".join(DASHES.sub("-", shown).split()).strip(QUOTES)


def find(orders: OrderQuerySet, text: str) -> dict[Kind, OrderQuerySet]:
    """The orders that a text finds, by what it is taken for; kinds that find none are left out."""
    if not clean(text):
        return {}
    # A whole address is nothing else, and is found faster than a part of one.
    exact = look_up(orders, Kind.EMAIL, text)
    if exact is not None and exact.exists():
        return {Kind.EMAIL: exact}

    readings = {kind: found for kind in Kind if (found := look_up(orders, kind, text)) is not None}
    probes = [found.order_by().annotate(kind=Value(kind)).values_list("kind")[:1] for kind, found in readings.items()]
    hits = {kind for (kind,) in probes[0].union(*probes[1:], all=True)}
    for kind in set(hits):
        hits -= OTHER_LICENSES.get(kind, set())
    return {kind: found for kind, found in readings.items() if kind in hits}


def look_up(orders: OrderQuerySet, kind: Kind, text: str) -> OrderQuerySet | None:
    """The orders that a text finds if it is taken for this kind of thing; None if it cannot be."""
    cleaned = clean(text)
    if kind not in OTHER_LICENSES and len(cleaned) > MAX_QUOTED:
        return None
    match kind:
        case Kind.LICENSE:
            return orders.with_code(text)
        case Kind.SIMILAR:
            digests = similar(text)
            return orders.with_loose_fingerprint(*digests) if digests else None
        case Kind.EMAIL:
            addresses = find_addresses(cleaned)
            return orders.with_email(*addresses) if addresses else None
        case Kind.NUMBER:
            return with_number(orders, text)
        case Kind.ENDING:
            return with_ending(orders, cleaned)
        case Kind.SKU:
            # Read before, for the database to know how many orders there are of them.
            products = list(Product.objects.filter(sku__iexact=cleaned))
            return orders.with_product(*products) if products else orders.with_other_product(cleaned)
        case Kind.CUSTOMER:
            words = find_words(cleaned)
            return orders.with_customer(*words) if any(map(says_enough, words)) else None


def with_number(orders: OrderQuerySet, text: str) -> OrderQuerySet | None:
    """Orders with this number, which may hold blanks and stops itself; if there are none, with the numbers in it."""
    cleaned = clean(text)
    if not cleaned.strip("#"):
        return None
    whole = orders.with_number(text, cleaned, unquote(cleaned))
    numbers = split_numbers(text)
    return whole if numbers in ([], [cleaned]) or whole.exists() else orders.with_number(*numbers)


def similar(text: str) -> list[bytes]:
    """Loose fingerprints of the licenses that a text can be, with or without a label before it."""
    found = [loose_fingerprint(each) for each in dict.fromkeys([text, LABEL.sub("", text.strip(), count=1)])]
    return [digest for digest in found if digest]


def with_ending(orders: OrderQuerySet, cleaned: str) -> OrderQuerySet | None:
    """Orders with a license that ends like this. A masked one, as pages show it, is as good as its ending."""
    ending = letters(cleaned)
    if "@" in cleaned or not HINT_LENGTH <= len(ending) <= MAX_ENDING:
        return None
    if len(ending) == HINT_LENGTH:
        return orders.with_hint(ending)
    # The database knows the last four: the few licenses that share them are read.
    return orders.filter(pk__in={code.item.order_id for code in codes_ending(orders, ending)})


def codes_ending(orders: OrderQuerySet, ending: str) -> list[ActivationCode]:
    codes = ActivationCode.all_codes.filter(hint__iexact=ending[-HINT_LENGTH:], item__order__in=orders.order_by())
    newest = codes.select_related("item").only("code", "fingerprint", "item__order").order_by("-pk")[:MAX_SAME_HINT]
    return [code for code in newest if code.ends_with(ending)]


def is_secret(kind: Kind, text: str) -> bool:
    """Whether this reading of a text is a license, or so much of one that no address may hold it."""
    return kind in OTHER_LICENSES or (kind == Kind.ENDING and len(letters(clean(text))) > HINT_LENGTH)


def get_digests(orders: OrderQuerySet, kind: Kind, text: str) -> list[str]:
    """What stands in an address for a license that was searched for: fingerprints, in hexadecimal."""
    if kind == Kind.ENDING:
        return [bytes(code.fingerprint).hex() for code in codes_ending(orders, letters(clean(text)))[:MAX_DIGESTS]]
    return [digest.hex() for digest in ([fingerprint(text.strip())] if kind == Kind.LICENSE else similar(text))]


def quotable(kind: Kind, found: OrderQuerySet, text: str) -> str:
    """What of a search may stand in an address: beside the numbers in a text there may be a license text."""
    cleaned = clean(text)
    if kind == Kind.EMAIL:
        return cut(find_addresses(cleaned))
    if kind == Kind.NUMBER and len(cleaned.split()) > 1:
        return cut(list(found.order_by("pk").values_list("number", flat=True)[:MAX_NUMBERS]))
    return cleaned


def cut(words: list[str]) -> str:
    while len(words) > 1 and len(quote(", ".join(words))) > MAX_ADDRESS:
        words = words[:-1]
    return ", ".join(words)


def find_addresses(cleaned: str) -> list[str]:
    """The e-mail addresses of a text such as `Ada Byron <ada@example.com>`."""
    found = (address.removeprefix("mailto:").strip(QUOTES) for address in EMAIL.findall(cleaned))
    return list(dict.fromkeys(found))[:MAX_NUMBERS]


def find_words(cleaned: str) -> list[str]:
    """The words of a name or an address, in any order: `Byron, Ada` is Ada Byron."""
    if len(cleaned) > MAX_CUSTOMER:
        return []
    return list(dict.fromkeys(word for part in re.split(r"[\s,;]+", cleaned) if (word := part.strip(QUOTES))))


def says_enough(word: str) -> bool:
    """Whether a part of a name is worth looking for: three letters, or two where one is a syllable or a word."""
    found = re.sub(r"[\W_]", "", word)
    return len(found) >= MIN_PART or (len(found) == 2 and min(found) >= "\u2e80")


def split_numbers(text: str) -> list[str]:
    """The order numbers of a text that quotes several, or one among words; none if a part of it is no number."""
    parts = [cleaned for part in SEPARATORS.split(text.strip()) if (cleaned := clean(part))]
    numbers = [" ".join(word for word in part.split() if not is_word(word)) for part in parts]
    if len(parts) == 1:
        numbers = [word.strip(QUOTES) for word in numbers[0].split()]
        # "a 2024 1" is one number, and not that of order 2024.
        if any(number.isalpha() or len(number) < min(2, len(numbers)) for number in numbers):
            return []
    return [number for number in numbers if number.strip("#")][:MAX_NUMBERS]


def is_word(text: str) -> bool:
    return len(text) > 1 and text.strip(QUOTES).isalpha()
