"""WooCommerce: webhooks of orders, signed with a secret, and its REST API, version 3.

https://woocommerce.github.io/woocommerce-rest-api-docs/ and WC_Webhook in its source.
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from orders.models import Order
from shops.changes import Cause, Line, Parked, Refunded, Sale, make_period, subscribe
from shops.kinds.base import Incoming, Missed, Option, Received, ShopKind, digest, irrelevant
from shops.reading import Node, read_json

# Statuses of orders that are paid, as the merchant chooses, and of those that are no longer.
PAID = {"processing": {"processing", "completed"}, "completed": {"completed"}}
UNDONE = {"refunded", "cancelled", "failed"}
PAGE_SIZE = 20  # orders
# Meta data of orders, which the plugin in examples/wordpress shows to customers.
META, LINK = "_keywell_codes", "_keywell_order_url"


class WooCommerce(ShopKind):
    code, name = "woocommerce", "WooCommerce"
    makes_secret = True
    topic_header = "X-WC-Webhook-Topic"
    options = (
        Option(
            "paid_status",
            _("Send licenses when an order is"),
            choices=[("processing", _("processing or completed")), ("completed", _("completed"))],
            initial="processing",
        ),
        Option("store", _("Address of the store"), _("Such as https://shop.example.com. For fetching missed orders.")),
        Option(
            "consumer_key",
            _("Consumer key"),
            _("Starts with ck_. To fetch orders, it may only read."),
            is_secret=True,
        ),
        Option("consumer_secret", _("Consumer secret"), _("Starts with cs_."), is_secret=True),
    )
    steps = (
        _("In WordPress, open *WooCommerce → Settings → Advanced → Webhooks* and click *Add webhook*."),
        _("Name it Keywell, set *Status* to *Active* and *Topic* to *Order updated*."),
        _("Paste the URL into *Delivery URL* and the secret into *Secret*. Leave *API version* at v3, and save."),
        _("To let us fetch missed orders, add a key with read access under *REST API* there."),
    )
    while_down = _(
        "WooCommerce never repeats a webhook, and disables it after five failures in a row. With an API key, we also"
        " fetch missed orders."
    )

    def receive(self, incoming: Incoming) -> list[Received]:
        # The test that WooCommerce makes before it saves a webhook isn't signed.
        if incoming.content_type == "application/x-www-form-urlencoded" and incoming.body.startswith(b"webhook_id="):
            return []
        return super().receive(incoming)

    def verify(self, incoming):
        self.check_signature(incoming.headers.get("X-WC-Webhook-Signature", ""), incoming.body, form="base64")

    def translate(self, event):
        return self._read(read_json(bytes(event.body)))

    def _read(self, order: Node) -> list[Sale | Refunded]:
        if not order["line_items"].value and not order["status"]:
            raise irrelevant("order.deleted")
        reference, status = order["id"].needed(), order["status"].needed()
        references = (reference,)
        refunds = [
            Refunded(references, refund["id"].needed(), -refund["total"].amount(), order["currency"].currency())
            for refund in order["refunds"]
        ]
        if status in UNDONE:
            if not order["date_paid_gmt"]:
                raise irrelevant(gettext("order that was never paid"))
            return [Refunded(references, "")]
        if status not in PAID[self.option("paid_status")] or not order["date_paid_gmt"]:
            raise Parked(Cause.UNPAID, gettext("The order is “{status}”.").format(status=status), references)
        return [self._read_sale(order, reference), *refunds]

    def _read_sale(self, order: Node, reference: str) -> Sale:
        customer, parameters = order["billing"], _parameters(order)
        renewal = parameters.get("_subscription_renewal", "")
        period = make_period(parameters.get("_billing_period", "month"), 1)
        lines = [_read_line(line, subscribe(renewal, period)) for line in order["line_items"]]
        currency = order["currency"].currency()
        return Sale(
            references=(reference,),
            number=order.first("number", "id"),
            paid_at=order["date_paid_gmt"].moment(),
            currency=currency,
            lines=(*lines, *_read_extras(order)),
            email=customer["email"].text(),
            first_name=customer["first_name"].text(),
            last_name=customer["last_name"].text(),
            company=customer["company"].text(),
            country=customer["country"].text(),
            language=parameters.get("wpml_language", ""),
        )

    # Catching up

    @property
    def can_catch_up(self) -> bool:
        return all(self.option(name) for name in ("store", "consumer_key", "consumer_secret"))

    def list_missed(self, since: datetime, cursor: Any) -> Missed:
        after, known = cursor or (_format(since), [])
        query = {
            "modified_after": after,
            "exclude": ",".join(known),
            "status": "processing,completed,refunded,cancelled,failed",
            "dates_are_gmt": "true",
            "orderby": "modified",
            "order": "asc",
            "per_page": PAGE_SIZE,
        }
        orders = list(self._ask("GET", f"/orders?{urlencode(query)}"))
        paid = [order for order in orders if order["status"].text() not in UNDONE or order["date_paid_gmt"]]
        events = [Received(digest(order.encode()), "order.fetched", order.encode()) for order in paid]
        sales = {
            event.key: order["id"].text()
            for event, order in zip(events, paid, strict=True)
            if order["status"].text() not in UNDONE and not order["refunds"]
        }
        return Missed(events, _find_next(orders, after, known) if len(orders) == PAGE_SIZE else None, sales)

    # Back into the shop

    writes_back = True

    def write_back(self, reference: str, order: Order, codes: Sequence[str]) -> None:
        path, text = f"/orders/{quote(reference, safe='')}", "\n".join(codes)
        known = {entry["key"].text(): entry["value"].text() for entry in self._ask("GET", path)["meta_data"]}
        if known.get(META) == text:
            return
        note = gettext("Keywell sent these licenses:") + f"\n{text}"
        self._ask("PUT", path, {"meta_data": [{"key": META, "value": text}, {"key": LINK, "value": order.url}]})
        self._ask("POST", f"{path}/notes", {"note": note, "customer_note": False})

    def _ask(self, method: str, path: str, content: dict[str, Any] | None = None) -> Node:
        login = b64encode(f"{self.option('consumer_key')}:{self.option('consumer_secret')}".encode()).decode()
        url = f"{self.store}/wp-json/wc/v3{path}"
        headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
        return self.ask(method, url, headers=headers, body=json.dumps(content).encode() if content else b"")


def _find_next(orders: Sequence[Node], after: str, known: Sequence[str]) -> tuple[str, list[str]]:
    """Where the next page starts: a second before the last order, without those already read.

    Pages with numbers would shift when an order changes and so moves to the end, or leaves the list.
    """
    times = [order["date_modified_gmt"].moment() for order in orders]
    start = max(after, _format(times[-1] - timedelta(seconds=1)))
    read = [order["id"].needed() for order, time in zip(orders, times, strict=True) if _format(time) >= start]
    return start, [*(known if start == after else []), *read]


def _format(moment: datetime) -> str:
    """Without an offset: WordPress would convert it to the store's time, but compare it with UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"


def _read_line(line: Node, subscription: dict[str, Any] | None) -> Line:
    ids = (line["sku"].text(), *(_positive(line[name]) for name in ("variation_id", "product_id")))
    return Line(
        reference=line["id"].needed(),
        ids=tuple(filter(None, ids)),
        name=line["name"].text(),
        quantity=line["quantity"].quantity(),
        total=line["total"].amount(Decimal(0)) + line["total_tax"].amount(Decimal(0)),
        subscription=subscription,
    )


def _positive(node: Node) -> str:
    return str(number) if (number := node.integer(0)) > 0 else ""


def _read_extras(order: Node) -> list[Line]:
    """Shipping and fees, so that our order has the shop's total."""
    return [
        Line(
            reference=f"{kind} {extra['id'].text()}",
            ids=(),
            name=extra.first("name", "method_title"),
            quantity=1,
            total=extra["total"].amount(Decimal(0)) + extra["total_tax"].amount(Decimal(0)),
        )
        for kind in ("shipping", "fee")
        for extra in order[f"{kind}_lines"]
    ]


def _parameters(order: Node) -> dict[str, str]:
    """The order's meta data that are texts, by name."""
    return {
        entry["key"].text(): entry["value"].text()
        for entry in order["meta_data"]
        if isinstance(entry["value"].value, str | int)
    }
