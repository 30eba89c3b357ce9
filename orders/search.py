"""One search box for whatever a customer quotes."""

import re

from django.db.models import TextChoices, Value

from merchants.models import Product
from orders.models import OrderQuerySet

# Below this a text says too little, and its trigrams too, for a look at parts of names.
SHORTEST_PART = 3
MOST_NUMBERS = 100


class Kind(TextChoices):
    """What a text turned out to be, the surest first."""

    LICENSE = "license", "license text"
    EMAIL = "email", "e-mail address"
    NUMBER = "number", "order number"
    ENDING = "ending", "license text’s last four characters"
    SKU = "sku", "SKU"
    CUSTOMER = "customer", "customer’s address or name"


def find(orders: OrderQuerySet, text: str) -> dict[Kind, OrderQuerySet]:
    """The orders that a text finds, by what it is taken for; kinds that find none are left out."""
    text = text.strip()
    if not text:
        return {}
    # A whole address is nothing else, and is found faster than a part of one.
    if "@" in text and (exact := orders.with_email(text)).exists():
        return {Kind.EMAIL: exact}

    readings = {kind: found for kind in Kind if (found := look_up(orders, kind, text)) is not None}
    probes = [found.order_by().annotate(kind=Value(kind)).values_list("kind")[:1] for kind, found in readings.items()]
    hits = {kind for (kind,) in probes[0].union(*probes[1:], all=True)}
    return {kind: found for kind, found in readings.items() if kind in hits}


def look_up(orders: OrderQuerySet, kind: Kind, text: str) -> OrderQuerySet | None:
    """The orders that a text finds if it is taken for this kind of thing; None if it cannot be."""
    text = text.strip()
    match kind:
        case Kind.EMAIL:
            return orders.with_email(text) if "@" in text else None
        case Kind.NUMBER:
            return orders.with_number(*split_numbers(text))
        case Kind.LICENSE:
            return orders.with_code(text)
        case Kind.ENDING:
            # A masked license text, as pages show it, is as good as its ending.
            ending = text.lstrip("•…-*")
            return orders.with_code_ending(ending) if len(ending) == 4 else None
        case Kind.SKU:
            # Read before, for the database to know how many orders there are of them.
            products = list(Product.objects.filter(sku__iexact=text))
            return orders.with_product(*products) if products else None
        case Kind.CUSTOMER:
            return orders.with_customer(text) if says_enough(text) else None


def quotable(kind: Kind, found: OrderQuerySet, text: str) -> str:
    """What of a search may stand in an address: beside the numbers in a text there may be a license text."""
    if kind != Kind.NUMBER or len(split_numbers(text)) == 1:
        return text
    return " ".join(found.order_by("pk").values_list("number", flat=True)[:MOST_NUMBERS])


def says_enough(text: str) -> bool:
    """Whether a part of a name is worth looking for: three letters, or two where one is a syllable or a word."""
    letters = re.sub(r"[\W_]", "", text)
    return len(letters) >= SHORTEST_PART or (len(letters) == 2 and min(letters) >= "\u2e80")


def split_numbers(text: str) -> list[str]:
    """The order numbers of a text that quotes several."""
    return [number for number in re.split(r"[\s,;#]+", text) if number][:MOST_NUMBERS]
