"""Lemon Squeezy: webhooks, signed with a secret, and its API. https://docs.lemonsqueezy.com/api"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from shops.changes import Cause, Change, Irrelevant, Line, Parked, Refunded, Sale, make_period, subscribe
from shops.kinds.base import Incoming, Missed, Option, Received, ShopKind, digest, irrelevant, parse_body
from shops.models import Event
from shops.reading import Node, read_json, split_name
from work.attempts import Failure

PAGE_SIZE = 50
# How long after an order its refund is still found, if the webhook was missed.
REFUND_SPAN = timedelta(days=60)
PAID = {"paid", "partial_refund"}
UNDONE = {"refunded", "fraudulent"}
INITIAL = "initial"  # the first payment of a subscription
# Types of objects, and the prefix of their ids in our references. Both have ids of their own.
ORDERS, INVOICES = "orders", "subscription-invoices"
PREFIXES = {ORDERS: "order", INVOICES: "invoice"}


class LemonSqueezy(ShopKind):
    code, name = "lemonsqueezy", _("Lemon Squeezy")
    api = "https://api.lemonsqueezy.com"
    options = (
        Option("api_key", _("API key"), _("For subscriptions and for fetching missed orders."), is_secret=True),
        Option("store_id", _("Store ID"), _("From Settings → Stores, without the #.")),
    )
    steps = (
        _("In Lemon Squeezy, open *Settings → Webhooks* and click the plus sign."),
        _("Paste the URL into *Callback URL*, make up a *Signing secret* of 6 to 40 characters, and copy it to us."),
        _(
            "Choose the events *order_created*, *order_refunded*, *subscription_payment_success* and"
            " *subscription_payment_refunded*, and save."
        ),
        _("Under *Settings → API*, create an API key, if you sell subscriptions or want us to fetch missed orders."),
    )
    while_down = _(
        "Lemon Squeezy repeats a webhook only three times within three minutes. With an API key and the store ID, we"
        " also fetch missed orders."
    )

    def verify(self, incoming):
        self.check_signature(incoming.headers.get("X-Signature", ""), incoming.body, form="hex")

    def read(self, incoming: Incoming) -> Received:
        return _received(parse_body(incoming.body), incoming.body)

    def asks(self, received: Received) -> bool:
        return bool(self.option("api_key"))

    def translate(self, event: Event) -> list[Change]:
        document = read_json(bytes(event.body))
        data = document["data"]
        kind, attributes = data["type"].text(), data["attributes"]
        if kind not in PREFIXES:
            raise irrelevant(document["meta"]["event_name"].text() or kind)
        if kind == INVOICES and attributes["billing_reason"].value == INITIAL:
            raise Irrelevant(gettext("The order reports the first payment of a subscription."))
        references, status = (_name(data, kind),), attributes["status"].text()
        if status in UNDONE:
            return [Refunded(references, "")]
        if status not in PAID:
            raise Parked(Cause.UNPAID, gettext("The payment is “{status}”.").format(status=status), references)
        line = self._read_order_line(data, event) if kind == ORDERS else self._read_renewed_line(data, event)
        sale = _read_sale(document, references, line)
        refunded = attributes["refunded_amount"].minor(sale.currency, 0)
        return [sale, Refunded(references, "", refunded, sale.currency, is_sum=True)] if refunded else [sale]

    def _read_order_line(self, order: Node, event: Event) -> Line:
        """An order has one item in practice, and Lemon Squeezy reports only the first one."""
        item = order["attributes"]["first_order_item"]
        subscription = self._find_subscription(order, item, event)
        return _read_line(order, item, item["id"].text(), item["quantity"].integer(1), subscription)

    def _find_subscription(self, order: Node, item: Node, event: Event) -> dict[str, Any] | None:
        """The subscription that the order began, if its price renews."""
        period = self._ask_period(item["price_id"].text(), event) if self.option("api_key") else ""
        if not period:
            return None
        query = urlencode({"filter[order_id]": order["id"].needed()})
        found = self._get(f"subscriptions?{query}", event)["data"][0]["id"].text()
        if not found:
            raise Failure(gettext("Lemon Squeezy hasn’t created the subscription yet."))
        return subscribe(found, period)

    def _read_renewed_line(self, invoice: Node, event: Event) -> Line:
        reference = invoice["attributes"]["subscription_id"].needed()
        if not self.option("api_key"):
            text = gettext("Enter an API key: Lemon Squeezy reports renewals without their product.")
            raise Parked(Cause.ACCESS, text)
        subscription = self._get(f"subscriptions/{quote(reference, safe='')}", event)["data"]["attributes"]
        item = subscription["first_subscription_item"]
        terms = subscribe(reference, self._ask_period(item["price_id"].text(), event))
        return _read_line(invoice, subscription, reference, item["quantity"].integer(1), terms)

    def _ask_period(self, price: str, event: Event) -> str:
        if not price:
            return ""
        terms = self._get(f"prices/{quote(price, safe='')}", event)["data"]["attributes"]
        return make_period(terms["renewal_interval_unit"].text(), terms["renewal_interval_quantity"].integer(0))

    def _get(self, path: str, event: Event | None = None) -> Node:
        headers = {"Accept": "application/vnd.api+json", "Authorization": f"Bearer {self.option('api_key')}"}
        return self.ask("GET", f"{self.api}/v1/{path}", headers=headers, event=event)

    # Catching up

    @property
    def can_catch_up(self) -> bool:
        return bool(self.option("api_key") and self.option("store_id"))

    def list_missed(self, since: datetime, cursor: Any) -> Missed:
        """List orders, then invoices, the newest first, until they are older. The cursor is the list and its page.

        Of older ones, refunds are listed: the API can't list what changed since then.
        """
        kind, number = cursor or [ORDERS, 1]
        query = {"filter[store_id]": self.option("store_id"), "page[number]": number, "page[size]": PAGE_SIZE}
        page = list(self._get(f"{kind}?{urlencode(query)}")["data"])
        recent = [row for row in page if row["attributes"]["created_at"].moment() >= since - REFUND_SPAN]
        new = {_name(row, kind) for row in recent if row["attributes"]["created_at"].moment() >= since}
        refunded = self._leave_out_unknown(_name(row, kind) for row in recent if _is_refunded(row))
        rows = [row for row in recent if _is_useful(row["attributes"]) and _name(row, kind) in new | refunded]
        events = [_wrap(row) for row in rows]
        sales = {event.key: _name(row, kind) for event, row in zip(events, rows, strict=True) if not _is_refunded(row)}
        if len(recent) == PAGE_SIZE:
            return Missed(events, [kind, number + 1], sales)
        return Missed(events, [INVOICES, 1] if kind == ORDERS else None, sales)

    def _leave_out_unknown(self, names: Iterable[str]) -> set[str]:
        known = self.connection.sale_references.filter(reference__in=list(names))
        return set(known.values_list("reference", flat=True))


def _received(document: Node, body: bytes) -> Received:
    meta = document["meta"]
    is_test = meta["test_mode"].flag() or document["data"]["attributes"]["test_mode"].flag()
    return Received(digest(body), meta["event_name"].label(), body, is_test)


def _is_useful(attributes: Node) -> bool:
    return attributes["status"].value in PAID | UNDONE and attributes["billing_reason"].value != INITIAL


def _is_refunded(row: Node) -> bool:
    return row["attributes"]["status"].value in UNDONE or row["attributes"]["refunded_amount"].integer(0) > 0


def _name(row: Node, kind: str) -> str:
    """Our reference of an order or an invoice."""
    return f"{PREFIXES[kind]} {row['id'].needed()}"


def _wrap(row: Node) -> Received:
    """An object from the API as an event."""
    document = Node({"meta": {"event_name": f"{row['type'].text()}.fetched"}, "data": row.value})
    return _received(document, document.encode())


def _read_sale(document: Node, references: tuple[str, ...], line: Line) -> Sale:
    attributes = document["data"]["attributes"]
    first_name, last_name = split_name(attributes["user_name"].text())
    return Sale(
        references=references,
        number=attributes["order_number"].text() or references[0],
        paid_at=attributes["created_at"].moment(),
        currency=attributes["currency"].currency(),
        lines=(line,),
        email=attributes["user_email"].text(),
        first_name=first_name,
        last_name=last_name,
        parameters=document["meta"]["custom_data"].texts(),
    )


def _read_line(data: Node, product: Node, reference: str, quantity: int, subscription: dict[str, Any] | None) -> Line:
    attributes = data["attributes"]
    return Line(
        reference=reference,
        ids=tuple(filter(None, (product["variant_id"].text(), product["product_id"].text()))),
        name=" ".join(filter(None, (product["product_name"].text(), product["variant_name"].text()))),
        quantity=quantity,
        total=attributes["total"].minor(attributes["currency"].currency()),
        subscription=subscription,
    )
