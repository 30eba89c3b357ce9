"""Any script or shop that can post a form and show the answer."""

import hmac
from base64 import b64decode
from decimal import Decimal

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from shops.changes import Sale, subscribe
from shops.kinds.answering import NO_CURRENCY, Answering, join, make_sale, parse_form
from shops.kinds.base import Incoming, Received, Rejected, digest, read_form


class Plain(Answering):
    code, name = "plain", _("Form in, license out")
    makes_secret = True
    secret_label = _("Password")
    steps = (
        _("Post a form with the fields order, product, quantity and email to the URL."),
        _("Send the secret as *Authorization: Bearer …*, or as the password of HTTP Basic authentication."),
        _("If the status is 200, the answer is the license, or one in each line. Otherwise, ask again later."),
    )

    def verify(self, incoming):
        kind, _, token = incoming.headers.get("Authorization", "").partition(" ")
        given = _read_password(token) if kind.lower() == "basic" else token.strip().encode()
        # Compares all, so that the time doesn't tell which one was nearly right.
        found = [hmac.compare_digest(given, secret) for secret in self.secrets()]
        if not any(found):
            raise Rejected(gettext("The password is wrong. Send it as a bearer token."))

    def read(self, incoming: Incoming) -> Received:
        is_test = read_form(incoming.body).get("test", "").lower() in {"true", "1", "yes"}
        return Received(digest(incoming.body), "license", incoming.body, is_test)

    def translate(self, event) -> list[Sale]:
        form = parse_form(event)
        order, product, currency = form["order"].needed(), form["product"].needed(), form["currency"]
        return [
            make_sale(
                event,
                number=join(order, product),
                ids=[product],
                quantity=form["quantity"].integer(1),
                total=form["total_price"].amount(Decimal(0)),
                currency=currency.currency() if currency else NO_CURRENCY,
                subscription=subscribe(form["subscription_id"].text(), form["subscription_period"].text()),
                email=form["email"].text(),
                first_name=form["first_name"].text(),
                last_name=form["last_name"].text(),
                company=form["company"].text(),
                country=form["country"].text(),
                language=form["language"].text(),
            )
        ]


def _read_password(token: str) -> bytes:
    try:
        return b64decode(token, validate=True).partition(b":")[2]
    except ValueError:
        return b""
