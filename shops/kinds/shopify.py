"""Shopify: webhooks of orders, refunds and disputes, signed with a secret, and its Admin API.

https://shopify.dev/docs/api/webhooks and /docs/api/admin-rest/latest/resources/order
"""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from orders.models import Order
from shops.changes import Cause, Change, Irrelevant, Line, Parked, Refunded, Restored, Sale, make_period, subscribe
from shops.kinds.base import Incoming, Missed, Option, Received, ShopKind, digest, irrelevant, parse_body
from shops.models import Event
from shops.reading import Node, read_json

API_VERSION = "2026-07"
PAGE_SIZE = 25  # orders
PAID = {"paid", "partially_refunded", "refunded"}
ORDER, REFUND, DISPUTE = "orders", "refunds/create", "disputes"
PERIOD_IN_NAME = re.compile(r"(?:(\d{1,3})[ -]?)?(day|week|month|year)", re.IGNORECASE)


class Shopify(ShopKind):
    code, name = "shopify", "Shopify"
    options = (
        Option("store", _("Address of the store"), _("Such as https://example.myshopify.com. For missed orders.")),
        Option(
            "access_token",
            _("Admin API access token"),
            _("Of a custom app that may read orders, and write them to save licenses. Starts with shpat_."),
            is_secret=True,
        ),
        Option(
            "period",
            _("Subscriptions renew every"),
            _("For selling plans whose name doesn’t say it."),
            choices=[("P1M", _("month")), ("P3M", _("three months")), ("P1Y", _("year"))],
            initial="P1Y",
        ),
    )
    steps = (
        _("In the Shopify admin, open *Settings → Notifications → Webhooks* and click *Create webhook*."),
        _("Choose the event *Order payment* and the format *JSON*, paste the URL, and save."),
        _("Do the same for *Refund create* and, with Shopify Payments, for *Dispute create* and *Dispute update*."),
        _("Copy the signing secret, which the page shows below the webhooks, to us."),
        _("To let us fetch missed orders, create an app with the scope read_orders under *Apps → Develop apps*."),
    )
    while_down = _(
        "Shopify repeats a webhook eight times within four hours. With an access token, we also fetch missed orders."
    )

    def verify(self, incoming):
        self.check_signature(incoming.headers.get("X-Shopify-Hmac-SHA256", ""), incoming.body, form="base64")

    def read(self, incoming: Incoming) -> Received:
        return _received(parse_body(incoming.body), incoming.body)

    def translate(self, event: Event) -> list[Change]:
        document = read_json(bytes(event.body))
        topic = _topic(document)
        if topic == REFUND:
            return [_read_refund(document, (document["order_id"].needed(),))]
        if topic == DISPUTE:
            return [_read_dispute(document)]
        if topic == ORDER:
            return self._read_order(document)
        raise irrelevant(topic)

    def _read_order(self, order: Node) -> list[Change]:
        references, status = (order["id"].needed(),), order["financial_status"].text()
        if status == "voided":
            raise Irrelevant(gettext("The payment was voided."))
        if status not in PAID:
            raise Parked(Cause.UNPAID, gettext("The payment is “{status}”.").format(status=status), references)
        refunds = [_read_refund(refund, references) for refund in order["refunds"] if _paid_back(refund)]
        if status == "refunded":
            return [*refunds, Refunded(references, "")]
        if not order["cancelled_at"]:
            return [self._read_sale(order, references), *refunds]
        if refunds:
            return [*refunds]
        raise Irrelevant(gettext("The order is canceled. Only a refund takes its licenses back."))

    def _read_sale(self, order: Node, references: tuple[str, ...]) -> Sale:
        currency = (order["total_price_set"]["presentment_money"]["currency_code"] or order["currency"]).currency()
        billing = order["billing_address"] or order["customer"]
        lines = [self._read_line(line, order, currency) for line in order["line_items"]]
        return Sale(
            references=references,
            number=order.first("name", "id"),
            paid_at=(order["processed_at"] or order["created_at"]).moment(),
            currency=currency,
            lines=(*lines, *_read_shipping(order, currency)),
            email=order.first("email", "contact_email") or order["customer"]["email"].text(),
            first_name=billing["first_name"].text(),
            last_name=billing["last_name"].text(),
            company=billing["company"].text(),
            country=billing["country_code"].text(),
            language=order["customer_locale"].text(),
            parameters=_read_notes(order),
        )

    def _read_line(self, line: Node, order: Node, currency: str) -> Line:
        quantity = line["quantity"].integer()
        ids = (line["sku"].text(), line["variant_id"].text(), line["product_id"].text())
        return Line(
            reference=line["id"].needed(),
            ids=tuple(filter(None, ids)),
            name=line.first("name", "title"),
            quantity=quantity,
            total=_total(line, quantity, order, currency),
            subscription=self._read_subscription(line, order),
        )

    def _read_subscription(self, line: Node, order: Node) -> dict[str, Any] | None:
        """Orders don't name their subscription contract, so it is a customer's purchases of a product by plan."""
        plan = line["selling_plan_allocation"]
        is_renewal = order["source_name"].text().startswith("subscription_contract")
        customer, product = order["customer"]["id"].text(), line.first("variant_id", "product_id")
        if not (plan or is_renewal) or not customer:
            return None
        found = PERIOD_IN_NAME.search(plan["selling_plan"]["name"].text())
        period = make_period(found[2], int(found[1] or 1)) if found else ""
        return subscribe(f"{customer}-{product}", period or self.option("period"))

    # Back into the shop

    writes_back = True

    def write_back(self, reference: str, order: Order, codes: Sequence[str]) -> None:
        """Save the codes in a metafield, which themes and e-mails can show."""
        fields = {"licenses": "\n".join(codes), "order_url": order.url}
        metafields = [
            {"namespace": "keywell", "key": name, "type": "multi_line_text_field", "value": value}
            for name, value in fields.items()
        ]
        content = {"order": {"id": int(reference), "metafields": metafields}}
        url = f"{self.store}/admin/api/{API_VERSION}/orders/{quote(reference, safe='')}.json"
        headers = {"X-Shopify-Access-Token": self.option("access_token"), "Content-Type": "application/json"}
        self.ask("PUT", url, headers=headers, body=json.dumps(content).encode())

    # Catching up

    @property
    def can_catch_up(self) -> bool:
        return bool(self.option("store") and self.option("access_token"))

    def list_missed(self, since: datetime, cursor: Any) -> Missed:
        """Includes orders that changed since then, such as by a refund. Known ones without refunds can be left out."""
        query = {"status": "any", "updated_at_min": since.isoformat(), "limit": PAGE_SIZE, "since_id": cursor or 0}
        url = f"{self.store}/admin/api/{API_VERSION}/orders.json?{urlencode(query)}"
        page = list(self.ask("GET", url, headers={"X-Shopify-Access-Token": self.option("access_token")})["orders"])
        paid = [order for order in page if order["financial_status"].value in PAID]
        events = [_received(order, order.encode()) for order in paid]
        sales = {
            event.key: order["id"].text() for event, order in zip(events, paid, strict=True) if not order["refunds"]
        }
        return Missed(events, page[-1]["id"].needed() if len(page) == PAGE_SIZE else None, sales)


def _received(document: Node, body: bytes) -> Received:
    is_test = document["test"].flag() or document["transactions"][0]["test"].flag()
    return Received(digest(body), _topic(document), body, is_test)


def _topic(document: Node) -> str:
    """What kind of event this is, by its body, because the header with the topic isn't signed."""
    if isinstance(document["refund_line_items"].value, list):
        return REFUND
    if document["type"].value in ("chargeback", "inquiry") and document["order_id"]:
        return DISPUTE
    if isinstance(document["line_items"].value, list) and document["financial_status"]:
        return ORDER
    return ""


def _amount(item: Node, name: str, currency: str) -> Decimal:
    """An amount in the currency that the customer paid in, if the shop says it, otherwise in the shop's own."""
    paid = item[f"{name}_set"]["presentment_money"]
    return (paid["amount"] if paid["currency_code"].value == currency else item[name]).amount(Decimal(0))


def _total(line: Node, quantity: int, order: Node, currency: str) -> Decimal:
    total = quantity * _amount(line, "price", currency)
    total -= sum(_amount(discount, "amount", currency) for discount in line["discount_allocations"])
    if order["taxes_included"].flag():
        return total
    return total + sum(_amount(tax, "price", currency) for tax in line["tax_lines"])


def _read_shipping(order: Node, currency: str) -> list[Line]:
    return [
        Line(
            reference=f"shipping-{line['id'].text()}",
            ids=(),
            name=line["title"].text(),
            quantity=1,
            total=_total(line, 1, order, currency),
        )
        for line in order["shipping_lines"]
    ]


def _read_notes(order: Node) -> dict[str, str]:
    return Node({str(note["name"].value): note["value"].value for note in order["note_attributes"]}).texts()


def _paid_back(refund: Node) -> list[Node]:
    """The payments of a refund. One without payments only restocks goods."""
    return [
        payment
        for payment in refund["transactions"]
        if payment["kind"].value == "refund" and payment["status"].value in ("success", "pending")
    ]


def _read_refund(refund: Node, references: tuple[str, ...]) -> Refunded:
    payments = _paid_back(refund)
    if not payments:
        raise Irrelevant(gettext("No money went back."))
    amount = sum((payment["amount"].amount() for payment in payments), start=Decimal(0))
    return Refunded(references, refund["id"].needed(), amount, payments[0]["currency"].currency())


def _read_dispute(dispute: Node) -> Refunded | Restored:
    references = (dispute["order_id"].needed(),)
    if dispute["status"].value == "won":
        ended = dispute["finalized_on"] or dispute["evidence_sent_on"] or dispute["initiated_at"]
        return Restored(references, ended.moment())
    if dispute["type"].value == "inquiry":
        raise Irrelevant(gettext("The bank only asks. No money went back."))
    began_at = dispute["initiated_at"].moment() if dispute["initiated_at"] else None
    return Refunded(references, f"dispute-{dispute['id'].needed()}", disputed_at=began_at)
