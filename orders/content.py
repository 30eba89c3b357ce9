"""Digests of a reported payment, to distinguish a repeated report from a conflicting one and to find differences.

An order keeps a keyed digest of each field instead of the field. So we can still compare after an address was
corrected, parameters were purged or a customer was erased, and the digests reveal none of these.
"""

import base64
from datetime import UTC
from decimal import Decimal

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model

from orders.models import Order
from vault.fingerprints import fingerprints

DIGEST_LENGTH = 9


def digest_content(payment: dict) -> dict[str, str]:
    """Digest each field of a payment by its JSON pointer. Pointers to items use the reference, not the index."""
    values = {pointer: encode(value) for pointer, value in _fields(payment)}
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
        # The reported SKU, because the product may be renamed or added later.
        yield f"{place}/product", item["sku"]
        yield f"{place}/quantity", item["quantity"]
        yield f"{place}/total_price", str(Decimal(item["total_price"]).normalize())
        yield f"{place}/subscription", item["subscription"]


def find_differences(order: Order, payment: dict, content: dict[str, str]) -> list[str]:
    """Return JSON pointers to the fields of a payment that differ from the order's first report."""
    places = {_escape(item["item"]): index for index, item in enumerate(payment["items"])}
    before = order.content
    differing = {name for name in content.keys() | before.keys() if content.get(name) != before.get(name)}
    return sorted({_point(name, places, before) for name in differing})


def _point(name: str, places: dict[str, int], known: dict[str, str]) -> str:
    """Return a pointer to the field; to the whole item if it is new, or to all items if one is missing."""
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
    """Encodes model instances as their primary key."""

    def default(self, o):
        return o.pk if isinstance(o, Model) else super().default(o)


# Faster than json.dumps, which makes an encoder for each value.
encode = PaymentEncoder(sort_keys=True).encode
