"""Gumroad: pings, which aren't signed, so each sale is read from the API. https://gumroad.com/ping and /api

The fields of a sale are those of Purchase::AsJson, version 2, in its source (antiwork/gumroad).
"""

import json
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from shops.changes import Cause, Change, Irrelevant, Line, Parked, Refunded, Restored, Sale, subscribe
from shops.kinds.base import Incoming, Missed, Option, Received, ShopKind, digest, irrelevant, parse_body, read_form
from shops.models import Event
from shops.reading import Node, read_json, split_name

PERIODS = {"monthly": "P1M", "quarterly": "P3M", "biannually": "P6M", "yearly": "P1Y", "every_two_years": "P2Y"}
# Prices are in US cents, whatever currency the product is offered in.
CURRENCY, SYMBOL = "USD", "$"
# What can happen to a sale, and how much of it is left.
CHANGES = ("refunded", "partially_refunded", "disputed")
STATE = (*CHANGES, "dispute_won", "amount_refundable_in_currency")


class Gumroad(ShopKind):
    code, name = "gumroad", "Gumroad"
    api = "https://api.gumroad.com"
    signs = False
    options = (
        Option(
            "access_token",
            _("Access token"),
            _("Of an application with the scope view_sales. Pings aren’t signed, so we confirm each sale."),
            is_secret=True,
        ),
    )
    steps = (
        _("In Gumroad, open *Settings → Advanced*, create an application, and click *Generate access token*."),
        _("Copy the access token to us. Until then, sales wait."),
        _("Paste the URL as *Ping endpoint* on the same page, and save."),
        _("For refunds and disputes, a developer subscribes the URL to them, as docs/shops/gumroad.md shows."),
    )
    while_down = _(
        "Gumroad repeats a ping three times within 15 minutes if we answer with an error, and never if it can’t reach"
        " us. With the access token, we also fetch missed sales."
    )

    def verify(self, incoming):
        """Nothing is signed: `translate` takes only the sale's id from the ping."""

    def read(self, incoming: Incoming) -> Received:
        is_json = incoming.content_type == "application/json"
        ping = parse_body(incoming.body) if is_json else Node(read_form(incoming.body))
        fields = {name: ping[name].value for name in ("sale_id", "resource_name")}
        topic = ping["resource_name"].label() or "sale"
        return Received(digest(incoming.body), topic, json.dumps(fields).encode(), ping["test"].flag())

    def asks(self, received: Received) -> bool:
        return True

    def translate(self, event: Event) -> list[Change]:
        ping = read_json(bytes(event.body))
        if not ping["sale_id"]:
            raise irrelevant(ping["resource_name"].text())
        if not self.option("access_token"):
            text = gettext("Enter an access token, so that we can confirm the sale: Gumroad doesn’t sign its pings.")
            raise Parked(Cause.ACCESS, text)
        answer = self._get(f"sales/{quote(ping['sale_id'].needed(), safe='')}", event)
        if not answer["sale"]:
            raise Parked(Cause.INVALID, gettext("Gumroad doesn’t know this sale."))
        return _read_sale(answer["sale"], event)

    def _get(self, path: str, event: Event | None = None) -> Node:
        headers = {"Authorization": f"Bearer {self.option('access_token')}"}
        return self.ask("GET", f"{self.api}/v2/{path}", headers=headers, event=event)

    # Catching up

    @property
    def can_catch_up(self) -> bool:
        return bool(self.option("access_token"))

    def list_missed(self, since: datetime, cursor: Any) -> Missed:
        query = {"after": since.date().isoformat()} | ({"page_key": cursor} if cursor else {})
        page = self._get(f"sales?{urlencode(query)}")
        events, sales = [], {}
        for sale in page["sales"]:
            # As in a ping, and what can change about a sale, so that each state is one event.
            state = {name: sale[name].value for name in STATE}
            body = json.dumps({"sale_id": sale["id"].needed(), "resource_name": "sale.fetched"} | state).encode()
            events.append(Received(digest(body), "sale.fetched", body, _is_test(sale)))
            if not any(sale[name].flag() for name in CHANGES):
                sales[events[-1].key] = sale["id"].text()
        return Missed(events, page["next_page_key"].text() or None, sales)


def _is_test(sale: Node) -> bool:
    """Sellers test by buying their own product."""
    return bool(sale["purchaser_id"]) and sale["purchaser_id"].value == sale["seller_id"].value


def _read_sale(sale: Node, event: Event) -> list[Change]:
    references = (sale["id"].needed(),)
    if event.is_test != _is_test(sale):
        raise Parked(Cause.INVALID, gettext("The ping and Gumroad disagree on whether the sale is a test."))
    if sale["is_gift_sender_purchase"].flag():
        raise Irrelevant(gettext("A gift. The recipient’s own sale gets the license."))
    if sale["is_preorder_authorization"].flag() or sale["is_in_preorder_state"].flag():
        raise Parked(Cause.UNPAID, gettext("The product is only preordered."), references)
    if sale["refunded"].flag():
        return [Refunded(references, "refund")]
    if sale["disputed"].flag() and not sale["dispute_won"].flag():
        return [Refunded(references, "dispute")]
    made_at = sale["created_at"].moment()
    changes: list[Change] = [_translate(sale, references, made_at)]
    if sale["dispute_won"].flag():
        changes.append(Restored(references, made_at))
    # What is left is in the product's currency, unlike the price.
    if sale["partially_refunded"].flag() and sale["currency_symbol"].value == SYMBOL:
        gone = sale["price"].minor(CURRENCY) - Node(_plain(sale["amount_refundable_in_currency"])).amount()
        changes.append(Refunded(references, "", gone, CURRENCY, is_sum=True))
    return changes


def _translate(sale: Node, references: tuple[str, ...], made_at: datetime) -> Sale:
    first_name, last_name = split_name(sale["full_name"].text())
    return Sale(
        references=references,
        number=sale.first("order_id", "id"),
        paid_at=made_at,
        currency=CURRENCY,
        lines=(_read_line(sale),),
        email=sale.first("purchase_email", "email"),
        first_name=first_name,
        last_name=last_name,
        country=sale["country_iso2"].text(),
        parameters=sale["custom_fields"].texts(),
    )


def _read_line(sale: Node) -> Line:
    permalink, variants = sale["product_permalink"].text(), ", ".join(sale["variants"].texts().values())
    names = (
        sale["sku_id"].text(),
        f"{permalink}: {variants}" if variants else "",
        permalink,
        sale["product_id"].text(),
    )
    period = PERIODS.get(sale["subscription_duration"].text(), "")
    return Line(
        reference="1",
        ids=tuple(filter(None, names)),
        name=f"{sale['product_name'].text()} {variants}".strip(),
        quantity=sale["quantity"].integer(1),
        total=sale["price"].minor(CURRENCY),
        subscription=subscribe(sale["subscription_id"].text(), period),
    )


def _plain(amount: Node) -> str:
    """An amount without separators of thousands."""
    return amount.text().replace(",", "")
