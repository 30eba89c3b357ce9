"""Another Keywell, or a shop like it: the other side of our own requests for codes, with their signature."""

from decimal import Decimal

from django.utils.translation import gettext_lazy as _

from shops.changes import Change, subscribe
from shops.kinds.answering import NO_CURRENCY, Answering, join, make_sale
from shops.kinds.base import Incoming, Received, digest, parse_body, read_form
from shops.kinds.standard_webhooks import StandardWebhooks, read_id
from shops.models import Event
from shops.reading import Node


class NoventiqRequest(Answering, StandardWebhooks):
    code, name = "noventiq_request", _("Noventiq, Softline and Keywell (ask for licenses)")
    makes_secret = False
    takes_queries = True
    steps = (
        _("In the shop, enter the URL as that of your license generator. POST with a form or JSON works, and GET."),
        _("Send the parameters with their own names: at least Order, Item, Unit, ID and Quantity."),
        _("Let it read the whole answer, with a code in each line. Copy its signing secret (whsec_…) to us."),
    )
    while_down = _("The shop asks again for a day.")

    def read(self, incoming: Incoming) -> Received:
        # The header isn't signed, but the first request with this id decides, and only the shop can send that.
        parse(incoming.body)
        is_test = incoming.headers.get("Keywell-Test", "").lower() == "true"
        return Received(read_id(incoming), "license", incoming.body, is_test)

    def translate(self, event: Event) -> list[Change]:
        request = parse(bytes(event.body))
        product, unit, currency = request["ID"].needed(), request["Unit"].text(), request["Currency"]
        # Without the number of the unit, only the request's id tells units apart.
        item = request["Item"].text() or product
        number = join(request["Order"].needed(), item, unit or digest(event.key.encode())[:6])
        return [
            make_sale(
                event,
                reference=number if unit else event.key,
                number=number,
                ids=[product],
                quantity=request["Quantity"].integer(1),
                # The sum is of all units. If each has its own request, the first one counts.
                total=request["Order_sum"].amount(Decimal(0)) if unit.split(",")[0] in {"", "1"} else Decimal(0),
                currency=currency.currency() if currency else NO_CURRENCY,
                subscription=subscribe(request["Subscription_ID"].text(), request["Subscription_period"].text()),
                email=request["Email"].text(),
                first_name=request["First_name"].text(),
                last_name=request["Last_name"].text(),
                company=request["Company"].text(),
                country=request["Country"].text(),
                language=request["Language"].text(),
            )
        ]


def parse(body: bytes) -> Node:
    """Parse the parameters, as JSON or a form. Raises Malformed."""
    return parse_body(body) if body.lstrip()[:1] == b"{" else Node(read_form(body))
