"""PayPal: captures of Checkout and payments of subscriptions. https://developer.paypal.com/api/rest/webhooks/"""

import re
from base64 import b64encode
from decimal import Decimal
from functools import cached_property
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
from shops.changes import Cause, Change, Line, Parked, Refunded, Restored, Sale, make_period, subscribe
from shops.kinds.base import Incoming, Option, Received, Rejected, ShopKind, decode_base64, irrelevant, parse_body
from shops.models import Event
from shops.reading import Node, read_json

CAPTURED, RENEWED, RESOLVED = "PAYMENT.CAPTURE.COMPLETED", "PAYMENT.SALE.COMPLETED", "CUSTOMER.DISPUTE.RESOLVED"
REFUNDS = {
    "PAYMENT.CAPTURE.REFUNDED",
    "PAYMENT.CAPTURE.REVERSED",
    "PAYMENT.SALE.REFUNDED",
    "PAYMENT.SALE.REVERSED",
}
CERTIFICATE_TIMEOUT = 5  # seconds. PayPal waits for our answer meanwhile.
MAX_CERTIFICATES = 32
# Public keys by the URL of their certificate. PayPal publishes a new certificate under a new URL.
_keys: dict[str, rsa.RSAPublicKey] = {}


class PayPal(ShopKind):
    code, name = "paypal", "PayPal"
    signs = False  # with a certificate of PayPal's own
    hosts = {"live": "https://api-m.paypal.com", "sandbox": "https://api-m.sandbox.paypal.com"}
    # Nobody else has paths like this at these hosts.
    certificates = re.compile(
        r"https://api(-m)?(\.sandbox)?\.paypal\.com/v1/notifications/certs/CERT-[0-9a-zA-Z-]{1,80}"
    )
    options = (
        Option(
            "environment",
            _("Environment"),
            _("Sales of the sandbox become test orders."),
            choices=[("live", _("live")), ("sandbox", _("sandbox"))],
            initial="live",
        ),
        Option("webhook_id", _("Webhook ID"), _("PayPal shows it after you save the webhook."), is_required=True),
        Option("client_id", _("Client ID"), _("Of the same app. Needed to read the products and the customer.")),
        Option("client_secret", _("Client secret"), is_secret=True),
    )
    steps = (
        _("In the PayPal Developer Dashboard, open *Apps & Credentials*, choose *Live* and your app."),
        _("Under *Webhooks*, click *Add Webhook* and paste the URL."),
        _(
            "Choose the events Payment capture completed, refunded and reversed, Payment sale completed, refunded and"
            " reversed, and Customer dispute resolved. Save, and copy the *Webhook ID* to us."
        ),
        _("Copy the *Client ID* and the *Secret key* of the app to us."),
    )
    while_down = _("PayPal repeats an event up to 25 times within three days.")

    # PayPal repeats events for days with the time of the first attempt, so an old one may be genuine. Replays of an
    # event are harmless: its id is signed.
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
        if url in _keys:
            return _keys[url]
        if not self.certificates.fullmatch(url):
            raise Rejected(gettext("The certificate isn’t at PayPal."))
        key = self._fetch_key(url)
        if len(_keys) >= MAX_CERTIFICATES:
            _keys.clear()
        _keys[url] = key
        return key

    def _fetch_key(self, url: str) -> rsa.RSAPublicKey:
        unavailable = Unavailable(gettext("PayPal’s certificate can’t be fetched now."))
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
                raise unavailable
            key = load_pem_x509_certificate(answer.body).public_key()
        except (OutgoingRequestError, ValueError) as error:
            raise unavailable from error
        if not isinstance(key, rsa.RSAPublicKey):
            raise Rejected(gettext("The certificate has no RSA key."))
        return key

    def read(self, incoming: Incoming) -> Received:
        document = parse_body(incoming.body)
        is_sandbox = self.option("environment") == "sandbox"
        return Received(document["id"].needed(), document["event_type"].text(), incoming.body, is_sandbox)

    def asks(self, received: Received) -> bool:
        return received.topic in {CAPTURED, RENEWED} and self._has_access

    @property
    def _has_access(self) -> bool:
        return bool(self.option("client_id") and self.option("client_secret"))

    def translate(self, event):
        document = read_json(bytes(event.body))
        topic, item = document["event_type"].text(), document["resource"]
        if topic == CAPTURED:
            return [self._read_capture(item, event)]
        if topic == RENEWED and item["billing_agreement_id"]:
            return [self._read_renewal(item, event)]
        if topic in REFUNDS:
            return [_read_refund(item)]
        if topic == RESOLVED:
            return _read_dispute(item, document["create_time"])
        raise irrelevant(topic)

    def _read_capture(self, capture: Node, event: Event) -> Sale:
        reference = capture["id"].needed()
        order_id = capture["supplementary_data"]["related_ids"]["order_id"].text()
        references = tuple(filter(None, (reference, order_id)))
        if capture["status"].text() not in {"", "COMPLETED"}:
            raise Parked(Cause.UNPAID, gettext("The customer hasn’t paid yet."), references)
        order = self._get(f"/v2/checkout/orders/{quote(order_id, safe='')}", event) if order_id else Node({})
        unit, payer = _find_unit(order, reference), _find_payer(order)
        currency = capture["amount"]["currency_code"].currency()
        return Sale(
            references=references,
            number=capture["invoice_id"].text() or unit["invoice_id"].text() or reference,
            paid_at=capture["create_time"].moment(),
            currency=currency,
            lines=tuple(_read_lines(unit, capture)),
            email=payer["email_address"].text(),
            first_name=payer["name"]["given_name"].text(),
            last_name=payer["name"]["surname"].text(),
            country=payer["address"]["country_code"].text(),
            parameters={"custom_id": capture["custom_id"].text()},
        )

    def _read_renewal(self, payment: Node, event: Event) -> Sale:
        reference, agreement = payment["id"].needed(), payment["billing_agreement_id"].needed()
        subscription = self._get(f"/v1/billing/subscriptions/{quote(agreement, safe='')}?fields=plan", event)
        subscriber, plan = subscription["subscriber"], subscription["plan"]
        names = (subscription["plan_id"], plan["product_id"], subscription["custom_id"], payment["custom"])
        line = Line(
            reference=reference,
            ids=tuple(filter(None, (name.text() for name in names))) or (agreement,),
            name=plan["name"].text(),
            quantity=subscription["quantity"].integer(1),
            total=payment["amount"]["total"].amount(),
            subscription=subscribe(agreement, _read_period(plan)),
        )
        return Sale(
            references=(reference,),
            number=payment["invoice_number"].text() or reference,
            paid_at=payment["create_time"].moment(),
            currency=payment["amount"]["currency"].currency(),
            lines=(line,),
            email=subscriber["email_address"].text(),
            first_name=subscriber["name"]["given_name"].text(),
            last_name=subscriber["name"]["surname"].text(),
            country=subscriber["shipping_address"]["address"]["country_code"].text(),
            parameters={"custom_id": subscription["custom_id"].text()},
        )

    # The API

    def _get(self, path: str, event: Event) -> Node:
        """Return an object of the API, or nothing without access to it: then a person can enter the address."""
        if not self._has_access:
            return Node({})
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


def _find_unit(order: Node, capture: str) -> Node:
    """The part of an order that was paid with this capture."""
    units = list(order["purchase_units"])
    own = (unit for unit in units if any(one["id"].text() == capture for one in unit["payments"]["captures"]))
    return next(own, units[0] if units else Node({}))


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
    links = (link["href"].text() for link in refund["links"] if link["rel"].text() == "up")
    sale = refund["sale_id"].text() or next(links, "").rpartition("/")[2] or refund["id"].needed()
    amount = refund["amount"]
    value = (amount["value"] or amount["total"]).amount()
    currency = (amount["currency_code"] or amount["currency"]).currency()
    return Refunded((sale,), refund["id"].needed(), abs(value), currency)


def _read_dispute(dispute: Node, resolved_at: Node) -> list[Change]:
    outcome = dispute["dispute_outcome"]["outcome_code"].text()
    if outcome != "RESOLVED_SELLER_FAVOUR":
        raise irrelevant(f"{RESOLVED} ({outcome})")
    payments = (payment["seller_transaction_id"].needed() for payment in dispute["disputed_transactions"])
    return [Restored((payment,), resolved_at.moment()) for payment in payments]
