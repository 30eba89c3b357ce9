"""PayPal: captures of Checkout and payments of subscriptions. https://developer.paypal.com/api/rest/webhooks/"""

import re
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from time import monotonic
from typing import Any
from urllib.parse import quote, urlencode
from zlib import crc32

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import load_pem_x509_certificate
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from outbound.address_guard import OutgoingRequestError
from outbound.outgoing_requests import call
from shops.changes import Cause, Change, Irrelevant, Line, Parked, Refunded, Restored, Sale, make_period, subscribe
from shops.kinds.base import Incoming, Option, Received, Rejected, ShopKind, decode_base64, irrelevant, parse_body
from shops.models import Event
from shops.reading import Node, read_json

CAPTURED, RENEWED, RESOLVED = "PAYMENT.CAPTURE.COMPLETED", "PAYMENT.SALE.COMPLETED", "CUSTOMER.DISPUTE.RESOLVED"
# Where the API has refunds.
REFUNDS = {
    "PAYMENT.CAPTURE.REFUNDED": "/v2/payments/refunds",
    "PAYMENT.CAPTURE.REVERSED": "/v2/payments/refunds",
    "PAYMENT.SALE.REFUNDED": "/v1/payments/refund",
    "PAYMENT.SALE.REVERSED": "/v1/payments/refund",
}
PAID, UNDONE = {"COMPLETED", "PARTIALLY_REFUNDED"}, "REFUNDED"
# A payment of a subscription is looked for within this time before and after the event's.
SPAN = timedelta(days=1)
CERTIFICATE_TIMEOUT = 5  # seconds. PayPal waits for our answer meanwhile.
CERTIFICATE_PAUSE = 60  # seconds
MAX_CERTIFICATES = 32
MAX_FAILURES = 1000
CERTIFICATE = r"\.paypal\.com/v1/notifications/certs/CERT-[0-9a-zA-Z-]{1,80}"
# Public keys by the URL of their certificate. PayPal publishes a new certificate under a new URL.
_keys: dict[str, rsa.RSAPublicKey] = {}
# When fetching a certificate last failed, by connection. Anyone who knows its URL can name made-up certificates.
_failures: dict[int, float] = {}


class PayPal(ShopKind):
    code, name = "paypal", "PayPal"
    signs = False  # with a certificate of PayPal's own
    hosts = {"live": "https://api-m.paypal.com", "sandbox": "https://api-m.sandbox.paypal.com"}
    # Nobody else has paths like this at these hosts. Anyone can have events of the sandbox signed.
    certificates = {
        "live": re.compile(rf"https://api(-m)?{CERTIFICATE}"),
        "sandbox": re.compile(rf"https://api(-m)?(\.sandbox)?{CERTIFICATE}"),
    }
    options = (
        Option(
            "environment",
            _("Environment"),
            _("Sales of the sandbox become test orders."),
            choices=[("live", _("live")), ("sandbox", _("sandbox"))],
            initial="live",
        ),
        Option("webhook_id", _("Webhook ID"), _("PayPal shows it after you save the webhook.")),
        Option("client_id", _("Client ID"), _("Of the same app. Needed to confirm sales.")),
        Option("client_secret", _("Client secret"), is_secret=True),
    )
    steps = (
        _("In the PayPal Developer Dashboard, open *Apps & Credentials*, choose *Live* or *Sandbox*, and your app."),
        _("Under *Webhooks*, click *Add Webhook* and paste the URL."),
        _(
            "Choose the events Payment capture completed, refunded and reversed, Payment sale completed, refunded and"
            " reversed, and Customer dispute resolved. Save, and copy the *Webhook ID* to us."
        ),
        _("Copy the app’s *Client ID* and *Secret key* to us. In its features, allow *Customer disputes*."),
    )
    while_down = _("PayPal repeats an event up to 25 times within three days.")

    # PayPal repeats events for days with the time of the first attempt, so an old one may be genuine. Only a checksum
    # of the body is signed, and forged bodies can match it. So the signed id is the event's key, which makes replays
    # harmless, and the API confirms what the body says.
    def verify(self, incoming):
        names = ("Transmission-Id", "Transmission-Time", "Transmission-Sig", "Cert-Url", "Auth-Algo")
        message, time, signature, url, algorithm = (incoming.headers.get(f"PayPal-{name}", "") for name in names)
        webhook = self.option("webhook_id")
        if not webhook:
            raise Rejected(gettext("Enter the webhook ID first."))
        if algorithm != "SHA256withRSA":
            raise Rejected(gettext("The signature’s algorithm is unknown."))
        text = f"{message}|{time}|{webhook}|{crc32(incoming.body)}"
        try:
            self._find_key(url).verify(decode_base64(signature), text.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature as error:
            raise Rejected(gettext("The signature is wrong. Is it the ID of this webhook?")) from error

    def _find_key(self, url: str) -> rsa.RSAPublicKey:
        if not self.certificates[self.option("environment")].fullmatch(url):
            raise Rejected(gettext("The certificate isn’t at PayPal."))
        if url in _keys:
            return _keys[url]
        if monotonic() - _failures.get(self.connection.pk, -CERTIFICATE_PAUSE) < CERTIFICATE_PAUSE:
            raise Unavailable
        try:
            key = self._fetch_key(url)
        except Rejected:
            _keep(_failures, self.connection.pk, monotonic(), MAX_FAILURES)
            raise
        _keep(_keys, url, key, MAX_CERTIFICATES)
        return key

    def _fetch_key(self, url: str) -> rsa.RSAPublicKey:
        try:
            answer = call(
                self.connection.merchant,
                "GET",
                url,
                headers={},
                timeout=CERTIFICATE_TIMEOUT,
                request_id=f"shop-{self.connection.pk}",
                read=lambda _: {},
            )
            if answer.status_code != 200:
                raise Unavailable
            key = load_pem_x509_certificate(answer.body).public_key()
        except (OutgoingRequestError, ValueError) as error:
            raise Unavailable from error
        if not isinstance(key, rsa.RSAPublicKey):
            raise Rejected(gettext("The certificate has no RSA key."))
        return key

    def read(self, incoming: Incoming) -> Received:
        topic, is_sandbox = parse_body(incoming.body)["event_type"].text(), self.option("environment") == "sandbox"
        return Received(incoming.headers.get("PayPal-Transmission-Id", ""), topic, incoming.body, is_sandbox)

    def asks(self, received: Received) -> bool:
        return received.topic in {CAPTURED, RENEWED, RESOLVED, *REFUNDS}

    def translate(self, event):
        document = read_json(bytes(event.body))
        topic, item = document["event_type"].text(), document["resource"]
        if topic == CAPTURED:
            return [self._read_capture(item, event)]
        if topic == RENEWED and item["billing_agreement_id"]:
            return [self._read_renewal(item, event)]
        if topic in REFUNDS:
            known = self._find(REFUNDS[topic], item["id"].needed(), event) if self._has_access else item
            return [_read_refund(known)]
        if topic == RESOLVED:
            dispute = self._find("/v1/customer/disputes", item["dispute_id"].needed(), event, "dispute_id")
            return _read_dispute(dispute)
        raise irrelevant(topic)

    def _read_capture(self, reported: Node, event: Event) -> Sale:
        reference = reported["id"].needed()
        capture = self._find("/v2/payments/captures", reference, event)
        _check_paid(capture["status"].text(), reference)
        unit, payer = self._find_unit(capture, reference, event)
        # A unit may be paid in parts, but its items are sold once. Other units of the order are sales of their own.
        parts = filter(None, (part["id"].text() for part in unit["payments"]["captures"]))
        return Sale(
            references=tuple(dict.fromkeys((reference, *parts))),
            number=capture["invoice_id"].text() or unit["invoice_id"].text() or reference,
            paid_at=capture["create_time"].moment(),
            currency=capture["amount"]["currency_code"].currency(),
            lines=tuple(_read_lines(unit, capture)),
            email=payer["email_address"].text(),
            first_name=payer["name"]["given_name"].text(),
            last_name=payer["name"]["surname"].text(),
            country=payer["address"]["country_code"].text(),
            parameters={"custom_id": capture["custom_id"].text()},
        )

    def _find_unit(self, capture: Node, reference: str, event: Event) -> tuple[Node, Node]:
        """The part of an order that was paid with this capture, and who paid. Both are empty without an order."""
        name = capture["supplementary_data"]["related_ids"]["order_id"].text()
        if not name:
            return Node({}), Node({})
        order = self._find("/v2/checkout/orders", name, event)
        for unit in order["purchase_units"]:
            if any(one["id"].text() == reference for one in unit["payments"]["captures"]):
                return unit, _find_payer(order)
        raise _unconfirmed(reference)

    def _read_renewal(self, reported: Node, event: Event) -> Sale:
        reference, agreement = reported["id"].needed(), reported["billing_agreement_id"].needed()
        payment = self._find_payment(agreement, reference, reported["create_time"].moment(), event)
        _check_paid(payment["status"].text(), reference)
        amount = payment["amount_with_breakdown"]["gross_amount"]
        subscription = self._get(f"/v1/billing/subscriptions/{quote(agreement, safe='')}?fields=plan", event)
        subscriber, plan = subscription["subscriber"], subscription["plan"]
        names = (subscription["plan_id"], plan["product_id"], subscription["custom_id"])
        line = Line(
            reference=reference,
            ids=tuple(filter(None, (name.text() for name in names))) or (agreement,),
            name=plan["name"].text(),
            quantity=subscription["quantity"].integer(1),
            total=amount["value"].amount(),
            subscription=subscribe(agreement, _read_period(plan)),
        )
        return Sale(
            references=(reference,),
            number=reference,
            paid_at=payment["time"].moment(),
            currency=amount["currency_code"].currency(),
            lines=(line,),
            email=subscriber["email_address"].text(),
            first_name=subscriber["name"]["given_name"].text(),
            last_name=subscriber["name"]["surname"].text(),
            country=subscriber["shipping_address"]["address"]["country_code"].text(),
            parameters={"custom_id": subscription["custom_id"].text()},
        )

    def _find_payment(self, agreement: str, reference: str, moment: datetime, event: Event) -> Node:
        """A payment in the list of its subscription. The API has no other way to read it since version 2."""
        times = {"start_time": _format(moment, -SPAN), "end_time": _format(moment, SPAN)}
        path = f"/v1/billing/subscriptions/{quote(agreement, safe='')}/transactions?{urlencode(times)}"
        for payment in self._get(path, event)["transactions"]:
            if payment["id"].text() == reference:
                return payment
        raise _unconfirmed(reference)

    # The API

    @property
    def _has_access(self) -> bool:
        return bool(self.option("client_id") and self.option("client_secret"))

    def _find(self, path: str, name: str, event: Event, field: str = "id") -> Node:
        """Return the object with this id. Raises Parked if there is none."""
        found = self._get(f"{path}/{quote(name, safe='')}", event)
        if found[field].text() != name:
            raise _unconfirmed(name)
        return found

    def _get(self, path: str, event: Event) -> Node:
        if not self._has_access:
            raise Parked(
                Cause.ACCESS,
                gettext("Enter the client ID and the client secret, so that PayPal can confirm this."),
            )
        return self.ask("GET", self._host + path, headers={"Authorization": f"Bearer {self._token}"}, event=event)

    @property
    def _host(self) -> str:
        return self.hosts[self.option("environment")]

    @cached_property
    def _token(self) -> str:
        login = b64encode(f"{self.option('client_id')}:{self.option('client_secret')}".encode()).decode()
        headers = {"Authorization": f"Basic {login}", "Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode({"grant_type": "client_credentials"}).encode()
        return self.ask("POST", f"{self._host}/v1/oauth2/token", headers=headers, body=body)["access_token"].needed()


class Unavailable(Rejected):
    """The request can't be verified now. PayPal repeats it."""

    status = 503

    def __init__(self) -> None:
        super().__init__(gettext("PayPal’s certificate can’t be fetched now."))


def _keep(cache: dict[Any, Any], name: Any, value: Any, size: int) -> None:
    if len(cache) >= size:
        cache.clear()
    cache[name] = value


def _unconfirmed(name: str) -> Parked:
    return Parked(Cause.INVALID, gettext("PayPal’s API doesn’t confirm {name}.").format(name=name[:100]))


def _check_paid(status: str, reference: str) -> None:
    """Raise Irrelevant if the money went back, and Parked if it hasn't come."""
    if status == UNDONE:
        raise Irrelevant(gettext("The payment was refunded."))
    if status not in PAID:
        raise Parked(Cause.UNPAID, gettext("The customer hasn’t paid yet."), (reference,))


def _format(moment: datetime, span: timedelta) -> str:
    try:
        return f"{(moment + span).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    except OverflowError as error:
        raise Parked(Cause.INVALID, gettext("The time of the event is impossible.")) from error


def _find_payer(order: Node) -> Node:
    """The customer: a PayPal account or, for other ways to pay, what the order says."""
    account = order["payment_source"]["paypal"]
    return order["payer"] if order["payer"]["email_address"] else account


def _read_lines(unit: Node, capture: Node) -> list[Line]:
    paid = capture["amount"]["value"].amount()
    items = list(unit["items"])
    if not items:
        names = (capture["custom_id"], unit["custom_id"], unit["description"], unit["reference_id"])
        ids = tuple(dict.fromkeys(filter(None, (name.text() for name in names))))
        return [Line(reference="1", ids=ids or ("order-without-items",), quantity=1, total=paid)]
    lines = [_read_line(item, str(number)) for number, item in enumerate(items, 1)]
    rest = paid - sum((line.total for line in lines), Decimal(0))
    extra = Line("rest", (), 1, rest, gettext("Shipping, discount and the like"))
    return [*lines, extra] if rest else lines


def _read_line(item: Node, reference: str) -> Line:
    quantity, price = item["quantity"].integer(1), item["unit_amount"]["value"].amount()
    return Line(
        reference=reference,
        ids=tuple(dict.fromkeys(filter(None, (item["sku"].text(), item["name"].text())))),
        name=item["name"].text(),
        quantity=quantity,
        total=quantity * (price + item["tax"]["value"].amount(Decimal(0))),
    )


def _read_period(plan: Node) -> str:
    """The period of a plan's regular cycle, not of its trial."""
    regular = [cycle for cycle in plan["billing_cycles"] if cycle["tenure_type"].text() == "REGULAR"]
    if not regular:
        return ""
    frequency = regular[0]["frequency"]
    return make_period(frequency["interval_unit"].text(), frequency["interval_count"].integer(1))


def _read_refund(refund: Node) -> Refunded:
    """A refund of a capture, which a link names, or of a subscription's payment. Reversals have the same shape."""
    if (refund["status"] or refund["state"]).text().upper() not in {"COMPLETED", "REVERSED"}:
        raise Parked(Cause.UNPAID, gettext("The refund isn’t completed."))
    links = (link["href"].text() for link in refund["links"] if link["rel"].text() == "up")
    sale = refund["sale_id"].text() or next(links, "").rpartition("/")[2] or refund["id"].needed()
    amount = refund["amount"]
    value = (amount["value"] or amount["total"]).amount()
    currency = (amount["currency_code"] or amount["currency"]).currency()
    return Refunded((sale,), refund["id"].needed(), abs(value), currency)


def _read_dispute(dispute: Node) -> list[Change]:
    outcome = dispute["dispute_outcome"]["outcome_code"].text()
    if outcome != "RESOLVED_SELLER_FAVOUR":
        raise irrelevant(f"{RESOLVED} ({outcome})")
    payments = (payment["seller_transaction_id"].needed() for payment in dispute["disputed_transactions"])
    return [Restored((payment,), dispute["update_time"].moment()) for payment in payments]
