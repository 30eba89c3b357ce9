"""Stripe: Checkout, Payment Links and invoices. https://docs.stripe.com/webhooks and /checkout/fulfillment."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from orders.models import Order
from orders.money import DECIMALS as ISO_DECIMALS
from shops.changes import (
    Approved,
    Cause,
    Change,
    Irrelevant,
    Line,
    Parked,
    Refunded,
    Restored,
    Sale,
    make_period,
    subscribe,
)
from shops.kinds.base import Incoming, Missed, Option, Received, ShopKind, check_time, irrelevant, parse_body
from shops.models import Event
from shops.reading import Node, read_json, split_name

SALES = {"checkout.session.completed", "checkout.session.async_payment_succeeded"}
INVOICE = "invoice.paid"
# Why Stripe made an invoice that is a sale. A Checkout Session may report the first one of a subscription, and those
# that aren't of a subscription.
RENEWAL, FIRST, MANUAL = "subscription_cycle", "subscription_create", "manual"
TOPICS = [
    *sorted(SALES),
    INVOICE,
    "refund.created",
    "refund.updated",
    "charge.dispute.created",
    "charge.dispute.closed",
    "review.closed",
]
MAX_PAGES = 10
MAX_METADATA = 500  # characters of a value
# Answers have this shape, whatever the account's version. Events have the version of their endpoint.
VERSION = "2025-03-31.basil"
# Stripe's minor units differ from ISO 4217 for these. https://docs.stripe.com/currencies#special-cases
DECIMALS = ISO_DECIMALS | {"ISK": 2, "UGX": 2, "MGA": 0}


class Stripe(ShopKind):
    code, name = "stripe", "Stripe"
    api = "https://api.stripe.com"
    options = (
        Option(
            "api_key",
            _("Restricted API key"),
            _("With read access to Checkout Sessions, Invoices and Events. Starts with rk_."),
            is_secret=True,
        ),
    )
    steps = (
        _("In the Stripe Dashboard, open *Developers → Webhooks* and click *Add destination*."),
        _(
            "Choose the events checkout.session.completed, checkout.session.async_payment_succeeded, invoice.paid,"
            " refund.created, refund.updated, charge.dispute.created, charge.dispute.closed and review.closed."
        ),
        _("Paste the URL as *Endpoint URL*, save, and copy the *Signing secret* (whsec_…) to us."),
        _("Under *API keys*, create a restricted key that may read Checkout Sessions, Invoices and Events."),
    )
    while_down = _("Stripe repeats an event for three days. With an API key, we also fetch what it couldn’t deliver.")

    def verify(self, incoming):
        parts = [part.partition("=") for part in incoming.headers.get("Stripe-Signature", "").split(",")[:20]]
        seconds = next((value for name, _, value in parts if name.strip() == "t"), "")
        check_time(seconds)
        given = [value for name, _, value in parts if name.strip() == "v1"]
        self.check_signature(given, seconds.encode() + b"." + incoming.body, form="hex")

    def read(self, incoming: Incoming) -> Received:
        return _received(parse_body(incoming.body), incoming.body)

    def asks(self, received: Received) -> bool:
        return received.topic in SALES | {INVOICE} and bool(self.option("api_key"))

    def translate(self, event):
        document = read_json(bytes(event.body))
        topic, item = document["type"].text(), document["data"]["object"]
        if topic in SALES:
            return [self._read_session(item, document["created"].moment(), event)]
        if topic == INVOICE:
            return [self._read_invoice(item, event)]
        if topic in {"refund.created", "refund.updated"}:
            return [_read_refund(item)]
        if topic == "charge.refunded":
            return list(_read_charge(item))
        if topic in {"charge.dispute.created", "charge.dispute.closed"}:
            return [_read_dispute(item, topic, document)]
        if topic == "review.closed" and item["reason"].text() == "approved":
            return [Approved(_payment(item))]
        raise irrelevant(topic)

    def _read_session(self, session: Node, paid_at: datetime, event: Event) -> Sale:
        if session["mode"].text() == "setup":
            raise irrelevant(gettext("Checkout Session without a sale"))
        reference, invoice = session["id"].needed(), session["invoice"].text()
        references = tuple(filter(None, (reference, session["payment_intent"].text(), invoice)))
        if session["payment_status"].text() not in {"paid", "no_payment_required"}:
            raise Parked(Cause.UNPAID, gettext("The customer hasn’t paid yet."), references)
        currency, customer = session["currency"].currency(), session["customer_details"]
        first_name, last_name = split_name(customer["name"].text())
        return Sale(
            references=(*references, *self._find_payments(invoice, event)),
            number=session.first("payment_intent", "invoice", "id"),
            paid_at=paid_at,
            currency=currency,
            lines=tuple(self._read_lines(session, reference, currency, event)),
            email=customer["email"].text() or session["customer_email"].text(),
            first_name=first_name,
            last_name=last_name,
            company=customer["business_name"].text(),
            country=customer["address"]["country"].text(),
            language=session["locale"].text(),
            parameters=session["metadata"].texts(),
        )

    def _read_lines(self, session: Node, reference: str, currency: str, event: Event) -> list[Line]:
        subscription = session["subscription"].text()
        if not self.option("api_key"):
            return [_read_whole(session, reference, currency)]
        return [
            Line(
                reference=line["id"].needed(),
                ids=_ids(line["price"]),
                name=line["description"].text(),
                quantity=line["quantity"].integer(1),
                total=_amount(line["amount_total"], currency),
                subscription=subscribe(subscription, _period(line["price"]["recurring"])),
            )
            for line in self._list(f"/v1/checkout/sessions/{quote(reference, safe='')}/line_items", {}, event)
        ]

    def _read_invoice(self, invoice: Node, event: Event) -> Sale:
        reference, reason = invoice["id"].needed(), invoice["billing_reason"].text()
        if reason not in {RENEWAL, FIRST, MANUAL}:
            raise irrelevant(f"{INVOICE} ({reason})")
        details = invoice["parent"]["subscription_details"]
        subscription = invoice["subscription"].text() or details["subscription"].text()
        references = self._find_references(invoice, reference, event)
        if reason == FIRST:
            self._leave_to_session([{"subscription": subscription}], event)
        if reason == MANUAL:
            self._leave_to_session([{"payment_intent": name} for name in references if name.startswith("pi_")], event)
        currency = invoice["currency"].currency()
        first_name, last_name = split_name(invoice["customer_name"].text())
        return Sale(
            references=references,
            number=invoice.first("number", "id"),
            paid_at=(invoice["status_transitions"]["paid_at"] or invoice["created"]).moment(),
            currency=currency,
            lines=tuple(
                _read_invoice_line(line, subscription, currency) for line in self._read_all(invoice, reference, event)
            ),
            email=invoice["customer_email"].text(),
            first_name=first_name,
            last_name=last_name,
            country=invoice["customer_address"]["country"].text(),
            parameters=details["metadata"].texts() | invoice["metadata"].texts(),
        )

    def _find_references(self, invoice: Node, reference: str, event: Event) -> tuple[str, ...]:
        references = (reference, invoice["payment_intent"].text(), invoice["charge"].text())
        payments = () if invoice["payment_intent"] else self._find_payments(reference, event)
        return tuple(filter(None, (*references, *payments)))

    def _leave_to_session(self, queries: Sequence[dict[str, str]], event: Event) -> None:
        """Raise Irrelevant if one of these finds a Checkout Session, which reports the sale itself."""
        if not self.option("api_key"):
            raise Irrelevant(
                gettext("A Checkout Session may have reported this sale. To find out, we need an API key.")
            )
        if any(self._list("/v1/checkout/sessions", query, event) for query in queries):
            raise Irrelevant(gettext("The Checkout Session reports this sale."))

    def _read_all(self, invoice: Node, reference: str, event: Event) -> list[Node]:
        """All lines of an invoice. Events have only the first ones of a long invoice."""
        lines = invoice["lines"]
        if not lines["has_more"].flag():
            return list(lines["data"])
        if not self.option("api_key"):
            raise Parked(Cause.ACCESS, gettext("The invoice is long. Enter an API key, so that we can read it."))
        return self._list(f"/v1/invoices/{quote(reference, safe='')}/lines", {}, event)

    def _find_payments(self, invoice: str, event: Event) -> tuple[str, ...]:
        """The payments of an invoice, which refunds name. Events don't have them since 2025."""
        if not invoice or not self.option("api_key"):
            return ()
        entries = self._list("/v1/invoice_payments", {"invoice": invoice}, event)
        return tuple(name for entry in entries for name in _payment(entry["payment"], invoice))

    def _list(self, path: str, query: dict[str, Any], event: Event | None = None) -> list[Node]:
        """All entries of a list of the API."""
        found: list[Node] = []
        for _page in range(MAX_PAGES):
            after = {"starting_after": found[-1]["id"].needed()} if found else {}
            page = self._get(f"{path}?{urlencode(query | {'limit': 100} | after)}", event)
            found += page["data"]
            if not page["has_more"].flag() or not page["data"]:
                return found
        raise Parked(Cause.INVALID, gettext("The sale has too many lines."))

    def _get(self, path: str, event: Event | None = None) -> Node:
        headers = {"Authorization": f"Bearer {self.option('api_key')}", "Stripe-Version": VERSION}
        return self.ask("GET", self.api + path, headers=headers, event=event)

    # Back into the shop

    writes_back = True

    def write_back(self, reference: str, order: Order, codes: Sequence[str]) -> None:
        """Save the codes in the payment's metadata, or only the link to them if they are too long for it."""
        payment = order.sale_references.filter(reference__startswith="pi_").first()
        if payment is None:
            raise Parked(Cause.REFUSED, gettext("The order has no payment at Stripe."))
        text = "\n".join(codes)
        saved = {"keywell_order_url": order.url} | ({"keywell_licenses": text} if len(text) <= MAX_METADATA else {})
        self.ask(
            "POST",
            f"{self.api}/v1/payment_intents/{quote(payment.reference, safe='')}",
            headers={
                "Authorization": f"Bearer {self.option('api_key')}",
                "Stripe-Version": VERSION,
                "Content-Type": "application/x-www-form-urlencoded",
            },
            body=urlencode({f"metadata[{name}]": value for name, value in saved.items()}).encode(),
        )

    # Catching up

    @property
    def can_catch_up(self) -> bool:
        return bool(self.option("api_key"))

    def list_missed(self, since: datetime, cursor: Any) -> Missed:
        """Stripe keeps the events of 30 days."""
        query = [("created[gte]", int(since.timestamp())), ("limit", 100), *(("types[]", topic) for topic in TOPICS)]
        query += [("starting_after", cursor)] if cursor else []
        page = self._get(f"/v1/events?{urlencode(query)}")
        events = [_received(node, node.encode()) for node in page["data"]]
        return Missed(events, events[-1].key if events and page["has_more"].flag() else None)


def _received(document: Node, body: bytes) -> Received:
    is_test = document["livemode"].value is False
    return Received(document["id"].needed(), document["type"].text(), body, is_test)


def _read_whole(session: Node, reference: str, currency: str) -> Line:
    """The session as one line. Without an API key, only its link or its metadata name the product."""
    ids = tuple(filter(None, (session["metadata"]["sku"].text(), session["payment_link"].text())))
    if not ids:
        text = gettext("Nothing in the event names the product. Enter an API key, so that we can read it.")
        raise Parked(Cause.ACCESS, text)
    return Line(
        reference=reference,
        ids=ids,
        quantity=1,
        total=_amount(session["amount_total"], currency),
    )


def _read_invoice_line(line: Node, subscription: str, currency: str) -> Line:
    """An invoice's line, in the shape before or since version 2025-03-31. What a changed plan costs is no product."""
    is_proration = (line["proration"] or line["parent"]["subscription_item_details"]["proration"]).flag()
    discounts = (_amount(discount["amount"], currency) for discount in line["discount_amounts"])
    return Line(
        reference=line["id"].needed(),
        ids=() if is_proration else _ids(line["pricing"]["price_details"]) or _ids(line["price"]),
        name=line["description"].text(),
        quantity=line["quantity"].integer(1),
        total=_amount(line["amount"], currency) - sum(discounts) + sum(_exclusive_taxes(line, currency)),
        subscription=subscribe(subscription, _period(line["price"]["recurring"]) or _span(line["period"])),
    )


def _exclusive_taxes(line: Node, currency: str) -> list[Decimal]:
    if line["taxes"]:
        found = [tax for tax in line["taxes"] if tax["tax_behavior"].text() == "exclusive"]
    else:
        found = [tax for tax in line["tax_amounts"] if tax["inclusive"].value is False]
    return [_amount(tax["amount"], currency) for tax in found]


def _read_refund(refund: Node) -> Change:
    if not _has_succeeded(refund):
        raise irrelevant(gettext("refund that hasn’t succeeded"))
    return Refunded(_payment(refund), refund["id"].needed(), **_money(refund))


def _read_charge(charge: Node) -> Iterator[Refunded]:
    """Refunds in an event for endpoints that don't get refund.created, with the same references."""
    payment = _payment(charge, charge["id"].needed())
    refunds = list(charge["refunds"]["data"])
    if charge["refunded"].flag() and all(map(_has_succeeded, refunds)):
        yield Refunded(payment, "")
        return
    if not refunds:
        raise Parked(Cause.INVALID, gettext("Add the event refund.created, which says how much was paid back."))
    for refund in filter(_has_succeeded, refunds):
        yield Refunded(payment, refund["id"].needed(), **_money(refund))


def _has_succeeded(refund: Node) -> bool:
    """Whether the money went back. A pending refund can still fail; if it doesn't, refund.updated follows."""
    return refund["status"].text() == "succeeded"


def _read_dispute(dispute: Node, topic: str, document: Node) -> Change:
    status = dispute["status"].text()
    if topic == "charge.dispute.closed" and status == "won":
        return Restored(_payment(dispute), document["created"].moment())
    # A warning is a bank's question. No money has moved.
    if topic == "charge.dispute.created" and not status.startswith("warning"):
        began_at = (dispute["created"] or document["created"]).moment()
        return Refunded(_payment(dispute), dispute["id"].needed(), **_money(dispute), disputed_at=began_at)
    raise irrelevant(f"{topic} ({status})")


def _payment(item: Node, otherwise: str = "") -> tuple[str, ...]:
    """The payment and the charge that an object names, by which sales are found."""
    found = tuple(filter(None, (item["payment_intent"].text(), item["charge"].text(), otherwise)))
    return found or (item["id"].needed(),)


def _money(item: Node) -> dict[str, Any]:
    currency = item["currency"].currency()
    return {"amount": Decimal(item["amount"].integer()).scaleb(-DECIMALS[currency]), "currency": currency}


def _amount(node: Node, currency: str) -> Decimal:
    return Decimal(node.integer(0)).scaleb(-DECIMALS[currency])


def _ids(price: Node) -> tuple[str, ...]:
    """A price's names, in the form of a price or of an invoice line's details."""
    names = (price["id"].text() or price["price"].text(), price["product"].text(), price["lookup_key"].text())
    return tuple(filter(None, names))


def _period(recurring: Node) -> str:
    return make_period(recurring["interval"].text(), recurring["interval_count"].integer(1)) if recurring else ""


def _span(period: Node) -> str:
    """The period between two times, for invoices that don't name it."""
    if not period["start"] or not period["end"]:
        return ""
    days = (period["end"].moment() - period["start"].moment()).days
    years, months = round(days / 365.25), round(days / 30.44)
    if days >= 360 and years:
        return f"P{years}Y"
    return f"P{months}M" if days >= 27 and months else f"P{days}D" if days >= 1 else ""
