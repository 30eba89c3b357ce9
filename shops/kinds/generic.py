"""Any shop that posts JSON or a form: the merchant says where each value is, and how requests are signed."""

import hmac
import json
from codecs import BOM_UTF8
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from shops.changes import Cause, Change, Irrelevant, Line, Parked, Refunded, Sale, subscribe
from shops.kinds.base import (
    Incoming,
    Option,
    Received,
    Rejected,
    ShopKind,
    need_any,
    read_form,
)
from shops.kinds.standard_webhooks import verify_standard
from shops.models import Event
from shops.reading import Node, read_json, split_name

TOKEN, HMAC, STANDARD, NONE = "token", "hmac", "standard", "none"
FORM = "application/x-www-form-urlencoded"


def _path(name: str, label: str | Promise, initial: str, help_text: str | Promise = "") -> Option:
    return Option(f"path_{name}", label, help_text, initial=initial, is_path=True)


class Generic(ShopKind):
    code = "generic"
    name: str | Promise = _("Another shop")
    makes_secret = True
    can_try = True
    options = (
        Option(
            "signature",
            _("How requests prove that they are the shop’s"),
            choices=[
                (TOKEN, _("the secret in a header")),
                (HMAC, _("HMAC-SHA256 of the body")),
                (STANDARD, _("Standard Webhooks")),
                (NONE, _("only by the URL")),
            ],
            initial=TOKEN,
        ),
        Option("header", _("Header with the secret or the signature"), initial="Authorization"),
        Option(
            "encoding", _("Encoding of the signature"), choices=[("hex", "hex"), ("base64", "base64")], initial="hex"
        ),
        Option("prefix", _("Text before the secret or the signature"), _("Such as “sha256=” or “Bearer ”.")),
        _path("order", _("Order number"), "order", _("A path such as order.id or items[0].sku, or a form’s field.")),
        _path("email", _("E-mail address"), "customer.email"),
        _path("name", _("Full name"), "customer.name"),
        _path("first_name", _("First name"), "customer.first_name"),
        _path("last_name", _("Last name"), "customer.last_name"),
        _path("company", _("Company"), "customer.company"),
        _path("country", _("Country"), "customer.country"),
        _path("language", _("Language"), "language"),
        _path("currency", _("Currency"), "currency"),
        _path("paid_at", _("Time of payment"), "paid_at", _("If it is missing, the time of the request counts.")),
        _path("items", _("List of items"), "items", _("If there is none, the request is about one item.")),
        _path("item", _("Item: its number"), "item"),
        _path("product", _("Item: product"), "product"),
        _path("quantity", _("Item: quantity"), "quantity"),
        _path("total", _("Item: total price"), "total_price"),
        _path("subscription", _("Item: subscription"), "subscription.id"),
        _path("period", _("Item: its period"), "subscription.period", _("ISO 8601, such as P1Y.")),
        _path("event", _("Kind of event"), "event"),
        Option("sale_events", _("Events that are sales"), initial="sale, paid, order.paid, order.completed"),
        Option("refund_events", _("Events that are refunds"), initial="refund, refunded, order.refunded, chargeback"),
        Option("other_events", _("Events to ignore"), initial="cancelled, canceled"),
        _path("refund", _("Refund: its number"), "refund"),
        _path("amount", _("Refund: amount"), "amount", _("If it is missing, everything was refunded.")),
        _path("test", _("Test event"), "test"),
    )
    steps: tuple[str | Promise, ...] = (
        _("Let your shop send a POST request with JSON or a form to the URL for each sale and each refund."),
        _("Let it send the secret or the signature in the header that you chose in the settings."),
    )
    while_down = _("Your shop should repeat a request until it gets a 2xx answer. A repeated request changes nothing.")

    def verify(self, incoming):
        VERIFY[self.option("signature")](self, incoming)

    def read(self, incoming: Incoming) -> Received:
        body = incoming.body
        # The header isn't signed, so it doesn't decide which of both it is.
        if body.removeprefix(BOM_UTF8).lstrip()[:1] not in {b"{", b"["}:
            body = json.dumps(read_form(body)).encode()
        event = super().read(replace(incoming, body=body))
        with suppress(Parked):
            document = read_json(body)
            return replace(event, topic=self._at(document, "event").text(), is_test=self._at(document, "test").flag())
        return event

    def translate(self, event):
        document = read_json(bytes(event.body))
        kind = self._at(document, "event").text()
        if self._is_one_of("other_events", kind):
            raise Irrelevant(gettext("The settings ignore events of the kind {kind}.").format(kind=kind))
        if self._is_one_of("refund_events", kind):
            return [self._read_refund(document)]
        if not kind or self._is_one_of("sale_events", kind):
            return [self._read_sale(document, event)]
        text = gettext(
            "The settings don’t say what events of the kind {kind} are. Add it to sales, refunds or others."
        )
        raise Parked(Cause.INVALID, text.format(kind=kind))

    def _is_one_of(self, option: str, kind: str) -> bool:
        return kind.lower() in {word.strip().lower() for word in self.option(option).split(",")} - {""}

    def _at(self, node: Node, name: str) -> Node:
        return node.at(self.option(f"path_{name}"))

    def _read_refund(self, document: Node) -> Change:
        amount = self._at(document, "amount")
        return Refunded(
            (self._at(document, "order").needed(),),
            self._at(document, "refund").text(),
            amount.amount() if amount else None,
        )

    def _read_sale(self, document: Node, event: Event) -> Sale:
        number, paid_at = self._at(document, "order").needed(), self._at(document, "paid_at")
        first_name, last_name = split_name(self._at(document, "name").text())
        items = list(self._at(document, "items")) or [document]
        need_any([self._at(item, "product") for item in items])
        return Sale(
            references=(number,),
            number=number,
            paid_at=paid_at.moment() if paid_at else event.created_at,
            currency=self._at(document, "currency").currency(),
            lines=tuple(self._read_line(item, str(position)) for position, item in enumerate(items, start=1)),
            email=self._at(document, "email").text(),
            first_name=self._at(document, "first_name").text() or first_name,
            last_name=self._at(document, "last_name").text() or last_name,
            company=self._at(document, "company").text(),
            country=self._at(document, "country").text(),
            language=self._at(document, "language").text(),
        )

    def _read_line(self, item: Node, position: str) -> Line:
        product = self._at(item, "product").text()
        return Line(
            reference=self._at(item, "item").text(position),
            ids=(product,) if product else (),
            quantity=self._at(item, "quantity").quantity(1),
            total=self._at(item, "total").amount(Decimal(0)),
            subscription=subscribe(self._at(item, "subscription").text(), self._at(item, "period").text("P1Y")),
        )


def _verify_token(kind: Generic, incoming: Incoming) -> None:
    given = incoming.headers.get(kind.option("header"), "").removeprefix(kind.option("prefix")).removeprefix("Bearer ")
    if not any(hmac.compare_digest(given.strip().encode(), secret) for secret in kind.secrets()):
        raise Rejected(gettext("The header {name} doesn’t have the secret.").format(name=kind.option("header")))


def _verify_hmac(kind: Generic, incoming: Incoming) -> None:
    given = incoming.headers.get(kind.option("header"), "").removeprefix(kind.option("prefix"))
    kind.check_signature(given, incoming.body, form=kind.option("encoding"))


VERIFY = {
    TOKEN: _verify_token,
    HMAC: _verify_hmac,
    STANDARD: verify_standard,
    NONE: lambda kind, incoming: None,
}


CONTENT = _(
    "As its content, enter JSON with order, currency, customer (email, name), items (product, quantity, total_price)."
)


class Zapier(Generic):
    code, name = "zapier", "Zapier"
    steps = (
        _("In your Zap, add the action *Webhooks by Zapier → Custom Request* after the trigger of your shop."),
        _("Choose *POST*, paste the URL, and add the header *Authorization* with the secret."),
        CONTENT,
    )
    while_down = _("Turn on Autoreplay in Zapier. It repeats a failed request for about ten hours.")


class N8n(Generic):
    code, name = "n8n", "n8n"
    steps = (
        _("In your workflow, add the node *HTTP Request* after the trigger of your shop."),
        _("Choose *POST*, paste the URL, and send the header *Authorization* with the secret."),
        CONTENT,
    )
    while_down = _(
        "In the node’s settings, turn on Retry On Fail. It repeats a request up to five times within seconds."
    )


class Make(Generic):
    code, name = "make", "Make"
    steps = (
        _("In your scenario, add the module *HTTP → Make a request* after the trigger of your shop."),
        _("Choose *POST*, paste the URL, and add the header *Authorization* with the secret."),
        CONTENT,
    )
    while_down = _("Add the error handler Break to the module. Make then keeps the request and repeats it.")
