"""What a shop reported, to tell a repeated report from a contradicting one, and to say where the two differ.

An order keeps a keyed digest of each field, not the field: it still holds after a corrected address, purged parameters
or an erased customer, and says nothing about them.
"""

import base64
import json
from datetime import UTC
from decimal import Decimal

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model

from orders.models import Order
from vault.fingerprints import fingerprints

DIGEST_LENGTH = 9


def digest_content(payment: dict) -> dict[str, str]:
    """A digest of each field of a payment, by its JSON pointer; items go by their reference, not their place."""
    values = {pointer: json.dumps(value, cls=PaymentEncoder, sort_keys=True) for pointer, value in _fields(payment)}
    digests = fingerprints([f"{pointer} {value}" for pointer, value in values.items()])
    return {
        pointer: base64.b64encode(digest[:DIGEST_LENGTH]).decode()
        for pointer, digest in zip(values, digests, strict=True)
    }


def _fields(payment: dict):
    yield "/paid_at", payment["paid_at"].astimezone(UTC)
    for name in ("currency", "language", "additional_parameters"):
        yield f"/{name}", payment[name]
    yield "/checkout_page", payment["checkout_page"].pk
    for name, value in payment["customer"].items():
        yield f"/customer/{name}", value
    for item in payment["items"]:
        place = f"/items/{_escape(item['item'])}"
        # By the SKU that was reported: the product may be renamed later, or be known only later.
        yield f"{place}/product", item["sku"]
        yield f"{place}/quantity", item["quantity"]
        yield f"{place}/total_price", str(Decimal(item["total_price"]).normalize())
        yield f"{place}/subscription", item["subscription"]


def find_differences(order: Order, payment: dict, content: dict[str, str]) -> list[str]:
    """Where a payment differs from what the order was first reported with, as JSON pointers into the payment."""
    places = {_escape(item["item"]): index for index, item in enumerate(payment["items"])}
    before = order.content
    differing = {name for name in content.keys() | before.keys() if content.get(name) != before.get(name)}
    return sorted({_point(name, places, before) for name in differing})


def _point(name: str, places: dict[str, int], known: dict[str, str]) -> str:
    """The pointer to a field; to a whole item if it is new, and to all items if one is missing."""
    _, first, *rest = name.split("/")
    if first != "items":
        return f"#{name}"
    reference, field = rest
    if reference not in places:
        return "#/items"
    item = f"#/items/{places[reference]}"
    return f"{item}/{field}" if f"/items/{reference}/product" in known else item


def _escape(text: str) -> str:
    return text.replace("~", "~0").replace("/", "~1")


class PaymentEncoder(DjangoJSONEncoder):
    """Model instances stand for themselves by primary key."""

    def default(self, o):
        return o.pk if isinstance(o, Model) else super().default(o)
