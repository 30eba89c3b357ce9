"""One search box for whatever a customer quotes."""

import re

from django.db.models import TextChoices, Value

from orders.models import OrderQuerySet

# Below this a text says too little, and its trigrams too, for a look at parts of names.
SHORTEST_PART = 3
MOST_NUMBERS = 100


class Kind(TextChoices):
    """What a text turned out to be, the surest first."""

    NUMBER = "number", "order number"
    LICENSE = "license", "license text"
    ENDING = "ending", "license text’s last four characters"
    SKU = "sku", "SKU"
    CUSTOMER = "customer", "customer’s address or name"


def find(orders: OrderQuerySet, text: str) -> dict[Kind, OrderQuerySet]:
    """The orders that a text finds, by what it is taken for; kinds that find none are left out. One query."""
    candidates = {kind: lookup(orders, kind, text) for kind in Kind if could_be(kind, text)}
    probes = [
        found.order_by().annotate(kind=Value(kind)).values_list("kind")[:1] for kind, found in candidates.items()
    ]
    if not probes:
        return {}
    hits = {kind for (kind,) in probes[0].union(*probes[1:], all=True)}
    return {kind: found for kind, found in candidates.items() if kind in hits}


def lookup(orders: OrderQuerySet, kind: Kind, text: str) -> OrderQuerySet:
    """The orders that a text finds if it is taken for this kind of thing."""
    match kind:
        case Kind.NUMBER:
            return orders.with_number(*numbers(text))
        case Kind.LICENSE:
            return orders.with_code(text)
        case Kind.ENDING:
            return orders.with_code_ending(ending(text))
        case Kind.SKU:
            return orders.with_sku(text)
        case Kind.CUSTOMER:
            return orders.with_customer(text)


def could_be(kind: Kind, text: str) -> bool:
    match kind:
        case Kind.ENDING:
            return len(ending(text)) == 4
        case Kind.CUSTOMER:
            return len(text.strip()) >= SHORTEST_PART
        case _:
            return bool(text.strip())


def numbers(text: str) -> list[str]:
    """The order numbers of a text that quotes several."""
    return [number for number in re.split(r"[\s,;#]+", text) if number][:MOST_NUMBERS]


def ending(text: str) -> str:
    """A masked license text, as pages show it, is as good as its ending."""
    return text.strip().lstrip("•…-*")
