"""PayPro Global, external license generator: it posts a form for each item of an order, and shows the answer.

https://developers.payproglobal.com/docs/integrate-with-paypro-global/webhook-ipn/
"""

from decimal import Decimal
from hashlib import sha256

from django.utils.translation import gettext_lazy as _

from shops.changes import Change, Refunded, Restored, Sale
from shops.kinds.answering import NO_CURRENCY, Answering, join, make_sale, parse_form
from shops.kinds.base import Incoming, Received, compare, digest, irrelevant, read_form
from shops.models import Event
from shops.reading import Node

LICENSE = "LicenseRequested"
FULL_REFUNDS = {"OrderRefunded", "OrderChargedBack"}
# What is signed, before and after the key. The rest isn't, so the URL must stay a secret.
BEFORE = ("ORDER_ID", "ORDER_STATUS", "ORDER_TOTAL_AMOUNT", "CUSTOMER_EMAIL")
AFTER = ("TEST_MODE", "IPN_TYPE_NAME")


class PayPro(Answering):
    code, name = "paypro", _("PayPro Global (asks for licenses)")
    secret_label = _("Validation key")
    steps = (
        _("In PayPro Global, open *Store settings → License management* and click *Add license*."),
        _("Choose *External License Generator*, paste the URL, and assign your products."),
        _("Under *Store settings → General settings → Integration*, copy the *Validation key* to us."),
        _("For refunds, also paste the URL as *IPN URL* of the products, under *Product setup*."),
    )
    while_down = _("PayPro Global asks three times, every 30 minutes. Then it tells you.")

    def verify(self, incoming):
        fields = read_form(incoming.body)
        given = fields.get("SIGNATURE", "").lower()
        before, after = ("".join(fields.get(name, "") for name in names).encode() for names in (BEFORE, AFTER))
        compare([given], [sha256(before + secret + after).hexdigest().encode() for secret in self.secrets()])

    def read(self, incoming: Incoming) -> Received:
        fields = Node(read_form(incoming.body))
        topic, is_test = fields["IPN_TYPE_NAME"].text(), fields["TEST_MODE"].flag()
        return Received(digest(incoming.body), topic, incoming.body, is_test)

    def wants_license(self, received: Received) -> bool:
        return received.topic == LICENSE

    def translate(self, event) -> list[Change]:
        form = parse_form(event)
        topic, order, item = (form[name].text() for name in ("IPN_TYPE_NAME", "ORDER_ID", "ORDER_ITEM_ID"))
        references = (join(order, item),)
        if topic == LICENSE:
            return [_read_sale(event, form)]
        if topic in FULL_REFUNDS:
            return [Refunded(references, "")]
        if topic == "OrderPartiallyRefunded":
            currency = form["ORDER_CURRENCY_CODE"].currency()
            return [Refunded(references, "", form["ORDER_ITEM_REFUNDED"].amount(), currency, is_sum=True)]
        if topic == "OrderChargebackIsWon":
            return [Restored(references, event.created_at)]
        raise irrelevant(topic)


def _read_sale(event: Event, form: Node) -> Sale:
    currency = form["ORDER_CURRENCY_CODE"]
    return make_sale(
        event,
        number=join(form["ORDER_ID"].needed(), form["ORDER_ITEM_ID"].text()),
        ids=[form[name].text() for name in ("ORDER_ITEM_SKU", "PRODUCT_ID")],
        quantity=form["PRODUCT_QUANTITY"].integer(1),
        total=form["ORDER_ITEM_TOTAL_AMOUNT"].amount(Decimal(0)),
        currency=currency.currency() if currency else NO_CURRENCY,
        email=form["CUSTOMER_EMAIL"].text(),
        first_name=form["CUSTOMER_FIRST_NAME"].text(),
        last_name=form["CUSTOMER_LAST_NAME"].text(),
        company=form["COMPANY_NAME"].text(),
        country=form["CUSTOMER_COUNTRY_CODE"].text(),
        language=form["CUSTOMER_LANGUAGE_CODE"].text(),
    )
