"""FastSpring, Remote Server Request: it posts a form for each product of an order, and shows the answer.

https://developer.fastspring.com/docs/license-key-fulfillments
"""

from hashlib import md5

from django.utils.translation import gettext_lazy as _

from shops.changes import Sale, subscribe
from shops.kinds.answering import Answering, join, make_sale, parse_form
from shops.kinds.base import Incoming, Received, compare, digest, read_form
from shops.reading import split_name

HASH = "security_request_hash"


class FastSpringRequest(Answering):
    code, name = "fastspring_request", _("FastSpring (asks for licenses)")
    secret_label = _("Private key")
    steps = (
        _("In FastSpring, open a product. Under *Fulfillments*, click *Add Fulfillment → Generate a License*."),
        _("Choose *Remote Server Request*, paste the URL, and choose *HTTP POST*, *UTF-8* and *Quantity Based*."),
        _(
            "Under *Parameters*, add the order reference as reference, the internal product name as"
            " internalProductName, and quantity, email, name, company and test."
        ),
        _("Under *Security*, copy the *Private Key* to us. Use the same one for all products."),
    )
    while_down = _("FastSpring tells you, and asks again when you click Retry in the order.")

    def verify(self, incoming):
        fields = read_form(incoming.body)
        given = fields.pop(HASH, "").lower()
        values = "".join(fields[name] for name in sorted(fields)).encode()
        compare([given], [md5(values + secret).hexdigest().encode() for secret in self.secrets()])  # noqa: S324

    def read(self, incoming: Incoming) -> Received:
        is_test = read_form(incoming.body).get("test", "").lower() in {"true", "1", "yes"}
        return Received(digest(incoming.body), "license", incoming.body, is_test)

    def translate(self, event) -> list[Sale]:
        form = parse_form(event)
        order, product = form["reference"].needed(), form.first("internalProductName", "product", "sku")
        first_name, last_name = split_name(form["name"].text())
        return [
            make_sale(
                event,
                number=join(order, product),
                ids=[product],
                quantity=form["quantity"].integer(1),
                subscription=subscribe(form["subscriptionReference"].text(), form["subscriptionPeriod"].text()),
                email=form["email"].text(),
                first_name=first_name,
                last_name=last_name,
                company=form["company"].text(),
            )
        ]
