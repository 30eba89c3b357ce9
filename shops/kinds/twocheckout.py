"""2Checkout (Verifone), dynamic lists of codes: it posts a form for each product of an order.

https://verifone.cloud/docs/2checkout/API-Integration/Webhooks/API-Message-Services/Key-generators
"""

import hmac
from collections.abc import Sequence
from xml.sax.saxutils import escape

from django.http import HttpResponse
from django.utils.translation import gettext_lazy as _

from shops.changes import Sale
from shops.kinds.answering import Answering, join, make_sale, parse_form
from shops.kinds.base import Incoming, Received, compare, digest, read_form, read_pairs

# The fields with a signature. That in HASH has the algorithm that the merchant chose.
SIGNATURES = {"HASH", "SIGNATURE_SHA2_256", "SIGNATURE_SHA3_256"}
ALGORITHMS = ("md5", "sha256", "sha3_256")


class TwoCheckout(Answering):
    code, name = "twocheckout", _("2Checkout (asks for licenses)")
    secret_label = _("Secret key")
    steps = (
        _("In the Control Panel, open *Setup → Fulfillment → Electronic Delivery* and add a *Dynamic list*."),
        _("Click *Set URL*, paste the URL, and choose *SHA2* or *SHA3*."),
        _("Under *Integrations → Webhooks & API*, copy the *Secret key* to us. Then debug and save the URL."),
        _("Assign the list to your products."),
    )
    while_down = _("2Checkout asks again, and tells you if it gets no code.")

    def verify(self, incoming):
        pairs = read_pairs(incoming.body)
        values = [value.encode() for name, value in pairs if name not in SIGNATURES]
        text = b"".join(b"%d%s" % (len(value), value) for value in values)
        given = [value.lower() for name, value in pairs if name in SIGNATURES]
        right = [hmac.digest(secret, text, name).hex().encode() for secret in self.secrets() for name in ALGORITHMS]
        compare(given, right)

    def read(self, incoming: Incoming) -> Received:
        is_test = read_form(incoming.body).get("TESTORDER", "").upper() in {"YES", "1", "TRUE"}
        return Received(digest(incoming.body), "license", incoming.body, is_test)

    def translate(self, event) -> list[Sale]:
        form = parse_form(event)
        order, ids = form["REFNO"].needed(), [form[name].text() for name in ("PCODE", "PSKU", "PID")]
        return [
            make_sale(
                event,
                number=join(order, next(filter(None, ids), "")),
                ids=ids,
                quantity=form["QUANTITY"].integer(1),
                email=form["EMAIL"].text(),
                first_name=form["FIRSTNAME"].text(),
                last_name=form["LASTNAME"].text(),
                company=form["COMPANY"].text(),
                country=form.first("COUNTRY_CODE", "COUNTRY"),
                language=form["LANG"].text(),
            )
        ]

    def write(self, codes: Sequence[str]) -> HttpResponse:
        entries = "".join(f"<Code>{escape(code)}</Code>" for code in codes)
        return HttpResponse(f'<?xml version="1.0" encoding="UTF-8"?><Data>{entries}</Data>', "text/xml; charset=utf-8")
