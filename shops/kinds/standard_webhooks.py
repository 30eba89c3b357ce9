"""Your own shop: the body of our payments API, sent as a webhook that is signed following Standard Webhooks.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import hmac
from base64 import b64decode, b64encode

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from outbound.signatures import base_string
from shops.changes import Change, Line, Refunded, Restored, Sale
from shops.kinds.base import (
    Incoming,
    Malformed,
    Received,
    Rejected,
    ShopKind,
    check_time,
    compare,
    irrelevant,
    need_any,
    parse_body,
)
from shops.models import MAX_ID, Event
from shops.reading import Node, read_json

PAID, REFUNDED = "order.paid", "order.refunded"


def verify_standard(kind: ShopKind, incoming: Incoming) -> None:
    """Raise Rejected unless the request is signed following the specification."""
    name, seconds = read_id(incoming), incoming.headers.get("webhook-timestamp", "")
    check_time(seconds)
    given = [text[3:] for text in incoming.headers.get("webhook-signature", "").split() if text.startswith("v1,")]
    content = base_string(name, int(seconds), incoming.body)
    compare(given, [b64encode(hmac.digest(key, content, "sha256")) for key in _read_keys(kind.secrets())])


def read_id(incoming: Incoming) -> str:
    """The signed id of the message, which repetitions share. Raises Malformed."""
    name = incoming.headers.get("webhook-id", "")
    if not name.isprintable() or not 1 <= len(name) <= MAX_ID or name != name.strip():
        raise Malformed(gettext("The request has no valid webhook-id."))
    return name


def _read_keys(secrets: list[bytes]) -> list[bytes]:
    try:
        keys = [b64decode(secret.removeprefix(b"whsec_"), validate=True) for secret in secrets]
    except ValueError:
        keys = [b""]
    if not all(keys):
        raise Rejected(gettext("The signing secret must be whsec_ and base64."))
    return keys


class StandardWebhooks(ShopKind):
    code, name = "standard_webhooks", _("Your own shop (Standard Webhooks)")
    makes_secret = True
    steps = (
        _("Send a POST request to the URL when an order is paid or refunded."),
        _("Its body is what our payments API accepts, and *type*: *order.paid* or *order.refunded*."),
        _("Sign it with the secret, using a library from standardwebhooks.com, and repeat it until we answer 200."),
    )
    while_down = _("Your shop decides. Repeat a webhook with the same webhook-id until we answer 200.")

    def verify(self, incoming):
        verify_standard(self, incoming)

    def read(self, incoming: Incoming) -> Received:
        document = parse_body(incoming.body)
        is_test = _content(document)["test"].flag()
        return Received(read_id(incoming), document["type"].label(), incoming.body, is_test)

    def translate(self, event: Event) -> list[Change]:
        document = read_json(bytes(event.body))
        topic, content = document["type"].text(), _content(document)
        if topic == PAID:
            return _read_payment(content)
        if topic == REFUNDED:
            return [_read_refund(content)]
        raise irrelevant(topic)


def _content(document: Node) -> Node:
    """The specification recommends to put the content into `data`. Beside the type is fine as well."""
    return document["data"] if isinstance(document["data"].value, dict) else document


def _read_payment(payment: Node) -> list[Change]:
    references, customer, items = (payment["order"].needed(),), payment["customer"], list(payment["items"])
    need_any([item["product"] for item in items])
    sale = Sale(
        references=references,
        number=references[0],
        paid_at=payment["paid_at"].moment(),
        currency=payment["currency"].currency(),
        lines=tuple(_read_item(item) for item in items),
        email=customer["email"].text(),
        first_name=customer["first_name"].text(),
        last_name=customer["last_name"].text(),
        company=customer["company"].text(),
        country=customer["country"].text(),
        language=payment["language"].text(),
        parameters=payment["additional_parameters"].texts(),
    )
    undone = payment["reinstated_at"]
    return [sale, Restored(references, undone.moment())] if undone else [sale]


def _read_item(item: Node) -> Line:
    product, subscription = item["product"].text(), item["subscription"].value
    return Line(
        reference=item["item"].needed(),
        ids=(product,) if product else (),
        name=product,
        quantity=item["quantity"].quantity(),
        total=item["total_price"].amount(),
        subscription=subscription if isinstance(subscription, dict) and subscription else None,
    )


def _read_refund(refund: Node) -> Refunded:
    currency = refund["currency"].currency() if refund["currency"] else ""
    amount = refund["amount"].amount() if refund["amount"] else None
    return Refunded((refund["order"].needed(),), refund["reference"].text(), amount, currency)
