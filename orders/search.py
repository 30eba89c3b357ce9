"""Finds orders by whatever a customer quotes. Used by the portal, the admin and the API's filters."""

import re
import unicodedata
from urllib.parse import quote, unquote

from django.db.models import QuerySet, TextChoices, Value
from django.utils.translation import gettext_lazy as _

from merchants.models import Product
from orders.license_texts import HINT_LENGTH, letters, loose_fingerprint
from orders.models import ActivationCode, Order, OrderQuerySet, OtherItem
from vault.fingerprints import fingerprint
from work.sql import PreparedQuery

MAX_SEARCH = 20_000  # characters: the longest license, with a browser's line breaks
# A longer text can only be a license.
MAX_QUOTED = 7000
MAX_CUSTOMER = 300
# Shorter parts of names match too much, and the trigram index doesn't help.
MIN_PART = 3
MAX_NUMBERS = 100
MAX_ENDING = 100  # letters and digits at the end of a license: some characters, or its last line
MAX_SAME_HINT = 1000
MAX_DIGESTS = 20
MAX_URL_TEXT = 2000  # characters of a search that become part of a URL, encoded

QUOTES = " \t\n\"'“”„‚‘’«»‹›()[]{}<>.,;:!?"
DASHES = re.compile("[\u2010-\u2015\u2212]")
EMAIL = re.compile(r"[^\s<>()\[\]\"“”„«»,;:@]+@[^\s<>()\[\]\"“”„«»,;:@?]+")
SEPARATORS = re.compile(r"[,;\t\n]+")
# "License key: AAAA-BBBB", "Serial number = 1234-5678"
LABEL = re.compile(r"\w[\w .-]{0,30}[:=]\s*(?=\S)")


class Kind(TextChoices):
    """What a text is, starting with the most certain."""

    LICENSE = "license", _("license text")
    SIMILAR = "similar", _("license text, ignoring case, spaces and punctuation")
    EMAIL = "email", _("e-mail address")
    NUMBER = "number", _("order number")
    ENDING = "ending", _("last characters of a license text")
    SKU = "sku", _("SKU")
    CUSTOMER = "customer", _("customer’s address or name")
    OTHER_DOMAIN = "domain", _("the same address at another domain")


CODES = {Kind.LICENSE, Kind.SIMILAR, Kind.ENDING}
# If one of these kinds finds something, the kinds it maps to would only find the same license.
REDUNDANT_KINDS = {Kind.LICENSE: {Kind.SIMILAR, Kind.ENDING}, Kind.SIMILAR: {Kind.ENDING}}


def clean(text: str) -> str:
    """Normalize characters and white space; remove invisible characters and surrounding quotation marks."""
    plain = unicodedata.normalize("NFKC", text)
    shown = "".join(character for character in plain if character.isspace() or unicodedata.category(character) != "Cf")
    return " ".join(DASHES.sub("-", shown).split()).strip(QUOTES)


def find(orders: OrderQuerySet, text: str) -> dict[Kind, OrderQuerySet]:
    """Find orders by each kind of thing the text can be; kinds that find nothing are omitted."""
    if not clean(text):
        return {}
    # A complete address can't be anything else, and this is faster than a partial search.
    exact = look_up(orders, Kind.EMAIL, text)
    if exact is not None and exact.exists():
        return {Kind.EMAIL: exact}

    impossible = get_impossible_kinds(text)
    kinds = [kind for kind in Kind if kind not in impossible]
    readings = {kind: found for kind in kinds if (found := look_up(orders, kind, text)) is not None}
    if not readings:
        return {}
    probes = [found.order_by().annotate(kind=Value(kind)).values_list("kind")[:1] for kind, found in readings.items()]
    hits = {kind for (kind,) in probes[0].union(*probes[1:], all=True)}
    for kind in set(hits):
        hits -= REDUNDANT_KINDS.get(kind, set())
    if len(hits) > 1:  # only a guess
        hits.discard(Kind.OTHER_DOMAIN)
    return {kind: found for kind, found in readings.items() if kind in hits}


def get_impossible_kinds(text: str) -> set[Kind]:
    """Kinds that match nothing of any merchant. Composing a query for each would take long."""
    cleaned = clean(text)
    loose = get_loose_fingerprints(text) or [b""]
    found = read_existing(
        exact=fingerprint(text.strip()),
        loose=loose[0],
        other_loose=loose[-1],
        hint=letters(cleaned)[-HINT_LENGTH:],
        sku=cleaned,
    )
    return {Kind.LICENSE, Kind.SIMILAR, Kind.ENDING, Kind.SKU} - {Kind(row.kind) for row in found}


@PreparedQuery
def read_existing(exact: bytes, loose: bytes, other_loose: bytes, hint: str, sku: str) -> QuerySet:
    codes = ActivationCode.all_codes.order_by()
    rows = [
        (Kind.LICENSE, codes.filter(fingerprint=exact)),
        (Kind.SIMILAR, codes.filter(loose_fingerprint__in=[loose, other_loose])),
        (Kind.ENDING, codes.filter(hint__iexact=hint)),
        (Kind.SKU, Product.objects.filter(sku__iexact=sku)),
        (Kind.SKU, OtherItem.objects.filter(product=sku, quantity__gte=1)),
    ]
    first, *others = [found.annotate(kind=Value(kind)).values("kind")[:1] for kind, found in rows]
    return first.union(*others, all=True)


def look_up(orders: OrderQuerySet, kind: Kind, text: str) -> OrderQuerySet | None:
    """Find orders by the text as this kind of thing; None if it can't be one."""
    cleaned = clean(text)
    if kind not in REDUNDANT_KINDS and len(cleaned) > MAX_QUOTED:
        return None
    match kind:
        case Kind.LICENSE:
            return orders.with_code(text)
        case Kind.SIMILAR:
            digests = get_loose_fingerprints(text)
            return orders.with_loose_fingerprint(*digests) if digests else None
        case Kind.EMAIL:
            addresses = find_addresses(cleaned)
            return orders.with_email(*addresses) if addresses else None
        case Kind.NUMBER:
            return with_number(orders, text)
        case Kind.ENDING:
            return with_ending(orders, cleaned)
        case Kind.SKU:
            # Fetched first, so that the planner can estimate the number of their orders.
            products = list(Product.objects.filter(sku__iexact=cleaned))
            return orders.with_product(*products) if products else orders.with_other_product(cleaned)
        case Kind.CUSTOMER:
            words = find_words(cleaned)
            return orders.with_customer(*words) if any(map(is_searchable, words)) else None
        case Kind.OTHER_DOMAIN:
            # Many mistyped addresses are wrong only after the @: gmial.com, or .co for .com.
            addresses = find_addresses(cleaned) if len(cleaned) <= MAX_CUSTOMER else []
            name = addresses[0].partition("@")[0] if len(addresses) == 1 else ""
            # The customer's text has an index, and the address begins with the name: veranda@ isn't anda@.
            found = orders.with_customer(f"{name}@").filter(email__istartswith=f"{name}@")
            return found if is_searchable(name) else None


def find_codes(orders: list[Order], kind: Kind, text: str) -> dict[int, int]:
    """Return the newest code of each order that the text finds. Empty if the kind isn't about codes."""
    if kind not in CODES:
        return {}
    digests = get_digests(Order.objects.filter(pk__in=[order.pk for order in orders]), kind, text)
    field = "loose_fingerprint" if kind == Kind.SIMILAR else "fingerprint"
    found = ActivationCode.all_codes.filter(**{f"{field}__in": digests}, item__order__in=orders).order_by("pk")
    return dict(found.values_list("item__order", "pk"))


def with_number(orders: OrderQuerySet, text: str) -> OrderQuerySet | None:
    """Orders with this number, which may contain spaces and punctuation; if none, with the numbers in the text."""
    cleaned = clean(text)
    if not cleaned.strip("#"):
        return None
    whole = orders.with_number(text, cleaned, unquote(cleaned))
    numbers = split_numbers(text)
    return whole if numbers in ([], [cleaned]) or whole.exists() else orders.with_number(*numbers)


def get_loose_fingerprints(text: str) -> list[bytes]:
    """Loose fingerprints of the text, with and without a label such as “License key:” in front."""
    variants = dict.fromkeys([text, LABEL.sub("", text.strip(), count=1)])
    return [digest for variant in variants if (digest := loose_fingerprint(variant))]


def with_ending(orders: OrderQuerySet, cleaned: str) -> OrderQuerySet | None:
    """Orders with a license that ends like this. Also works with a masked license as pages show it."""
    ending = letters(cleaned)
    if "@" in cleaned or not HINT_LENGTH <= len(ending) <= MAX_ENDING:
        return None
    if len(ending) == HINT_LENGTH:
        return orders.with_hint(ending)
    # The database only has the last four characters, so decrypt the few licenses that share them.
    return orders.filter(pk__in={code.item.order_id for code in codes_ending(orders, ending)})


def codes_ending(orders: OrderQuerySet, ending: str) -> list[ActivationCode]:
    codes = ActivationCode.all_codes.filter(hint__iexact=ending[-HINT_LENGTH:], item__order__in=orders.order_by())
    newest = (
        codes.select_related("item").only("code", "fingerprint", "unit", "item__order").order_by("-pk")[:MAX_SAME_HINT]
    )
    return [code for code in newest if code.ends_with(ending)]


def is_secret(kind: Kind, text: str) -> bool:
    """Whether the text is a license, or enough of one that it must not appear in a URL."""
    return kind in REDUNDANT_KINDS or (kind == Kind.ENDING and len(letters(clean(text))) > HINT_LENGTH)


def get_shown_kinds(orders: OrderQuerySet, text: str, names: list[str]) -> list[Kind]:
    """Return the kinds that a URL names. If it names none, return the kinds that find something.

    Never a license text, or more than its last four characters. Otherwise, URLs could be used to guess licenses.
    """
    kinds = [Kind(name) for name in names if name in Kind.values] or list(find(orders, text))
    return [kind for kind in kinds if not is_secret(kind, text)]


def get_digests(orders: OrderQuerySet, kind: Kind, text: str) -> list[bytes]:
    """Return the fingerprints of the codes that the text finds; loose ones for SIMILAR."""
    if kind == Kind.ENDING:
        found = codes_ending(orders, letters(clean(text)))[:MAX_DIGESTS]
        return [bytes(code.fingerprint) for code in found]
    return [fingerprint(text.strip())] if kind == Kind.LICENSE else get_loose_fingerprints(text)


def text_for_url(kind: Kind, found: OrderQuerySet, text: str) -> str:
    """Return the part of a search that may appear in a URL, because the rest may be a license text."""
    cleaned = clean(text)
    if kind == Kind.EMAIL:
        return truncate(find_addresses(cleaned))
    if kind == Kind.NUMBER and len(cleaned.split()) > 1:
        return truncate(list(found.order_by("pk").values_list("number", flat=True)[:MAX_NUMBERS]))
    return cleaned


def truncate(words: list[str]) -> str:
    while len(words) > 1 and len(quote(", ".join(words))) > MAX_URL_TEXT:
        words = words[:-1]
    return ", ".join(words)


def find_addresses(cleaned: str) -> list[str]:
    """Extract the e-mail addresses from a text such as `Ada Byron <ada@example.com>`."""
    found = (address.removeprefix("mailto:").strip(QUOTES) for address in EMAIL.findall(cleaned))
    return list(dict.fromkeys(found))[:MAX_NUMBERS]


def find_words(cleaned: str) -> list[str]:
    """Split a name or address into words, so that `Byron, Ada` finds Ada Byron."""
    if len(cleaned) > MAX_CUSTOMER:
        return []
    return list(dict.fromkeys(word for part in re.split(r"[\s,;]+", cleaned) if (word := part.strip(QUOTES))))


def is_searchable(word: str) -> bool:
    """Whether a word is long enough to search for: three letters, or two in scripts with syllables or word signs."""
    found = re.sub(r"[\W_]", "", word)
    return len(found) >= MIN_PART or (len(found) == 2 and min(found) >= "\u2e80")


def split_numbers(text: str) -> list[str]:
    """Extract order numbers from a text with several numbers, or with a number among words.

    Returns none if a part of the text isn't a number.
    """
    parts = [cleaned for part in SEPARATORS.split(text.strip()) if (cleaned := clean(part))]
    numbers = [" ".join(word for word in part.split() if not is_word(word)) for part in parts]
    if len(parts) == 1:
        numbers = [word.strip(QUOTES) for word in numbers[0].split()]
        # "a 2024 1" is a single number, not the number of order 2024.
        if any(number.isalpha() or len(number) < min(2, len(numbers)) for number in numbers):
            return []
    return [number for number in numbers if number.strip("#")][:MAX_NUMBERS]


def is_word(text: str) -> bool:
    return len(text) > 1 and text.strip(QUOTES).isalpha()
