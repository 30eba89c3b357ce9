"""Paddle Billing: transactions and adjustments. https://developer.paddle.com/webhooks/overview"""

from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from shops.changes import Cause, Change, Line, Parked, Refunded, Restored, Sale, make_period, subscribe
from shops.kinds.base import Incoming, Missed, Option, Received, ShopKind, check_time, digest, irrelevant, parse_body
from shops.models import Event
from shops.reading import Node, read_json, split_name

SALE = "transaction.completed"
# Transactions for nothing new: a changed card costs nothing, and a changed plan would be a second license.
NO_SALES = {"subscription_payment_method_change", "subscription_update"}
# A transaction itself says only the ids of these.
INCLUDED = "customer,address,business,adjustments"
REFUNDS, REVERSED = {"refund", "chargeback"}, "chargeback_reverse"
PAGE_SIZE = 30


class Paddle(ShopKind):
    code, name = "paddle", "Paddle"
    hosts = {"live": "https://api.paddle.com", "sandbox": "https://sandbox-api.paddle.com"}
    secret_label = _("Secret key of the notification destination")
    options = (
        Option(
            "environment",
            _("Environment"),
            _("Sales of the sandbox become test orders."),
            choices=[("live", _("live")), ("sandbox", _("sandbox"))],
            initial="live",
        ),
        Option(
            "api_key",
            _("API key"),
            _(
                "May read transactions, adjustments, customers, addresses and businesses. Without it, sales have no"
                " address."
            ),
            is_secret=True,
        ),
    )
    steps = (
        _("In Paddle, open *Developer tools → Notifications* and click *New destination*."),
        _("Paste the URL, and choose the events transaction.completed, adjustment.created and adjustment.updated."),
        _("Save, open *Edit destination*, and copy the *Secret key* (pdl_ntf_…) to us."),
        _(
            "Under *Authentication*, create an API key that may read transactions, adjustments, customers, addresses"
            " and businesses."
        ),
    )
    while_down = _("Paddle repeats an event 60 times within three days. With an API key, we also fetch missed orders.")

    def verify(self, incoming):
        parts = [part.partition("=") for part in incoming.headers.get("Paddle-Signature", "").split(";")[:20]]
        seconds = next((value for name, _, value in parts if name == "ts"), "")
        check_time(seconds)
        given = [value for name, _, value in parts if name == "h1"]
        self.check_signature(given, seconds.encode() + b":" + incoming.body, form="hex")

    def read(self, incoming: Incoming) -> Received:
        document = parse_body(incoming.body)
        key, topic = document["event_id"], document["event_type"]
        return Received(key.needed(), topic.text(), incoming.body, self.is_sandbox)

    @property
    def is_sandbox(self) -> bool:
        return self.option("environment") == "sandbox"

    def asks(self, received: Received) -> bool:
        return received.topic == SALE and bool(self.option("api_key"))

    def translate(self, event):
        document = read_json(bytes(event.body))
        topic, item = document["event_type"].text(), document["data"]
        if topic == SALE:
            return [self._read_sale(item, event), *_read_adjustments(item)]
        if topic in {"adjustment.created", "adjustment.updated"}:
            return [_read_adjustment(item, topic, item["transaction_id"].needed())]
        raise irrelevant(topic)

    def _read_sale(self, transaction: Node, event: Event) -> Sale:
        reference, origin = transaction["id"].needed(), transaction["origin"].text()
        if origin in NO_SALES:
            raise irrelevant(f"{SALE} ({origin})")
        if transaction["status"].text() not in {"completed", "paid"}:
            raise Parked(Cause.UNPAID, gettext("The customer hasn’t paid yet."), (reference,))
        known = self._fetch(transaction, event)
        custom, currency = transaction["custom_data"].texts(), transaction["currency_code"].currency()
        first_name, last_name = split_name(known["customer"]["name"].text())
        return Sale(
            references=(reference,),
            number=transaction.first("invoice_number", "id"),
            paid_at=(transaction["billed_at"] or transaction["created_at"]).moment(),
            currency=currency,
            lines=tuple(_read_lines(transaction, currency)),
            email=known["customer"]["email"].text() or custom.get("email", ""),
            first_name=first_name,
            last_name=last_name,
            company=known["business"]["name"].text(),
            country=known["address"]["country_code"].text(),
            language=known["customer"]["locale"].text(),
            parameters=custom,
        )

    def _fetch(self, transaction: Node, event: Event) -> Node:
        """The transaction with its customer. It may have been fetched with them."""
        if transaction["customer"] or not self.option("api_key"):
            return transaction
        path = f"/transactions/{quote(transaction['id'].needed(), safe='')}"
        return self._get(path, {"include": INCLUDED}, event)["data"]

    def _get(self, path: str, query: dict[str, Any], event: Event | None = None) -> Node:
        url = f"{self.hosts[self.option('environment')]}{path}?{urlencode(query)}"
        return self.ask("GET", url, headers={"Authorization": f"Bearer {self.option('api_key')}"}, event=event)

    # Catching up

    @property
    def can_catch_up(self) -> bool:
        return bool(self.option("api_key"))

    def list_missed(self, since: datetime, cursor: Any) -> Missed:
        query = {
            "status": "completed",
            "updated_at[GTE]": since.isoformat(),
            "order_by": "id[ASC]",
            "per_page": PAGE_SIZE,
            "include": INCLUDED,
        }
        page = self._get("/transactions", query | ({"after": cursor} if cursor else {}))
        transactions = list(page["data"])
        events = [self._make_event(transaction) for transaction in transactions]
        pairs = zip(events, transactions, strict=True)
        sales = {event.key: node["id"].needed() for event, node in pairs if not node["adjustments"]}
        has_more = transactions and page["meta"]["pagination"]["has_more"].flag()
        return Missed(events, transactions[-1]["id"].needed() if has_more else None, sales)

    def _make_event(self, transaction: Node) -> Received:
        body = Node({"event_type": SALE, "data": transaction.value}).encode()
        return Received(digest(body), SALE, body, self.is_sandbox)


def _read_lines(transaction: Node, currency: str) -> list[Line]:
    prices = {item["price"]["id"].text(): item["price"] for item in transaction["items"]}
    subscription = transaction["subscription_id"].text()
    return [
        _read_line(line, prices.get(line["price_id"].text(), Node({})), subscription, currency)
        for line in transaction["details"]["line_items"]
    ]


def _read_line(line: Node, price: Node, subscription: str, currency: str) -> Line:
    names = (line["price_id"].text(), price["product_id"].text(), line["product"]["id"].text())
    ids = tuple(dict.fromkeys(filter(None, (*names, price["custom_data"]["sku"].text()))))
    cycle = price["billing_cycle"]
    return Line(
        reference=line["id"].text(),
        ids=() if line["proration"] else ids,  # what a changed plan costs is no product
        name=line["product"]["name"].text() or price.first("name", "description"),
        quantity=line["quantity"].integer(1),
        total=line["totals"]["total"].minor(currency, 0),
        subscription=subscribe(subscription, make_period(cycle["interval"].text(), cycle["frequency"].integer(1))),
    )


def _read_adjustment(adjustment: Node, topic: str, transaction: str) -> Change:
    action, status, sale = adjustment["action"].text(), adjustment["status"].text(), (transaction,)
    if status != "approved":
        raise irrelevant(f"{topic} ({action}, {status})")
    if action in REFUNDS:
        return _read_refund(adjustment, sale)
    if action == REVERSED:
        return Restored(sale, (adjustment["updated_at"] or adjustment["created_at"]).moment())
    raise irrelevant(f"{topic} ({action})")


def _read_adjustments(transaction: Node) -> list[Change]:
    """The refunds of a fetched transaction, and then what undid them."""
    approved = [each for each in transaction["adjustments"] if each["status"].text() == "approved"]
    useful = [each for each in approved if each["action"].text() in REFUNDS | {REVERSED}]
    useful.sort(key=lambda each: each["action"].text() == REVERSED)
    return [_read_adjustment(each, SALE, transaction["id"].needed()) for each in useful]


def _read_refund(adjustment: Node, sale: tuple[str, ...]) -> Refunded:
    currency = adjustment["currency_code"].currency()
    amount = None if adjustment["type"].text() == "full" else adjustment["totals"]["total"].minor(currency)
    began_at = adjustment["created_at"].moment() if adjustment["action"].text() == "chargeback" else None
    return Refunded(sale, adjustment["id"].needed(), amount, currency, disputed_at=began_at)
