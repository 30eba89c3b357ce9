"""Noventiq Checkout: one webhook for each product of an order. https://docs.noventiq.com/en-en/checkout/webhooks-request

The way in which Noventiq asks for licenses is a kind of its own.
"""

import hmac
from hashlib import sha512
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from orders.models import Subscription
from shops.changes import Cause, Change, Line, Parked, Refunded, Sale, subscribe
from shops.kinds.base import Incoming, Received, Rejected, ShopKind, digest, irrelevant, parse_body
from shops.models import Event
from shops.reading import Node, is_text, read_json

WHOLE_ORDER = "1-of-1"


class Noventiq(ShopKind):
    code, name = "noventiq", _("Noventiq Checkout")
    secret_label = _("Secret key")
    steps = (
        _("In the Noventiq Checkout control panel, open the webhooks of your account and add the URL."),
        _("Choose the events *order.payment.succeeded* and *product.returned*."),
        _("Copy the secret key to us."),
    )
    while_down = _(
        "Noventiq’s documentation names no repetitions. After an outage, compare your orders there with ours, and ask"
        " Noventiq to send the missing webhooks again."
    )

    def verify(self, incoming):
        """The signature is a plain hash that begins with the secret, and covers only some fields."""
        document = parse_body(incoming.body)
        customer, payment = document["customer"], document["payment"]
        fields = [document[name].value for name in ("event", "order_id", "create_date")]
        fields += [payment["payment_method"].value, document["currency"].value, customer["email"].value]
        content = "".join(f";{value if is_text(value) else ''}" for value in fields).encode(errors="replace")
        given = incoming.headers.get("signature", "").strip().lower().encode()
        found = [
            hmac.compare_digest(given, sha512(secret + content).hexdigest().encode()) for secret in self.secrets()
        ]
        if not any(found):
            raise Rejected(gettext("The signature is wrong. Does the signing secret match?"))

    def read(self, incoming: Incoming) -> Received:
        return Received(digest(incoming.body), parse_body(incoming.body)["event"].label(), incoming.body)

    def translate(self, event: Event) -> list[Change]:
        document = read_json(bytes(event.body))
        topic, product = document["event"].text(), document["product"]
        references = (f"{document['order_id'].needed()}/{product['id'].needed()}",)
        if topic == "product.returned":
            # Noventiq refunds an item as a whole, also when it is charged back.
            return [Refunded(references, "")]
        if topic != "order.payment.succeeded":
            raise irrelevant(topic)
        if document["status"].text() != "paid":
            text = gettext("The order is “{status}”.").format(status=document["status"].text())
            raise Parked(Cause.UNPAID, text, references)
        return [_read_sale(document, product, references)]


def _read_sale(document: Node, product: Node, references: tuple[str, ...]) -> Sale:
    """Each product of an order becomes an order of ours, because its webhook may be the only one to arrive."""
    customer, number = document["customer"], document.first("order_name", "order_id")
    is_whole = document["document_part"].text() in ("", WHOLE_ORDER)
    ids = (product["sku"].text(), product["vendor_code"].text(), product["id"].text())
    return Sale(
        references=references,
        number=number if is_whole else f"{number}/{product['id'].text()}",
        paid_at=(document["pay_date"] or document["event_date"]).moment(),
        currency=document["currency"].currency(),
        lines=(
            Line(
                reference=product["id"].text(),
                ids=tuple(filter(None, ids)),
                name=product["name"].text(),
                quantity=product["quantity"].integer(),
                total=product["amount"].amount(),
                subscription=_read_subscription(document["subscription"]),
            ),
        ),
        email=customer["email"].text(),
        first_name=customer["first_name"].text(),
        last_name=customer["last_name"].text(),
        company=customer["company_name"].text(),
        country=customer["country"].text(),
        language=document["locale"].text(),
        parameters=document["additional_parameters"].texts(),
    )


def _read_subscription(node: Node) -> dict[str, Any] | None:
    found = subscribe(node.first("id", "subscription_id"), node.first("period", "subscription_period").upper())
    kind = node.first("type", "subscription_type")
    return found | {"type": kind} if found and kind in Subscription.Type.values else found
