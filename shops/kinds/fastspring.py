"""FastSpring: webhooks with several events each, signed with a secret. https://developer.fastspring.com/reference

The way in which FastSpring asks for licenses is a kind of its own.
"""

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from orders.money import DECIMALS
from shops.changes import Cause, Change, Line, Parked, Refunded, Sale, make_period, subscribe
from shops.kinds.base import Incoming, Malformed, Missed, Option, Received, ShopKind, irrelevant, parse_body
from shops.models import Event
from shops.reading import Node, read_json


class FastSpring(ShopKind):
    code, name = "fastspring", "FastSpring"
    api = "https://api.fastspring.com"
    makes_secret = True
    secret_label = _("HMAC SHA256 secret")
    options = (
        Option("api_user", _("API user name"), _("Of an API credential, for fetching missed events."), is_secret=True),
        Option("api_password", _("API password"), is_secret=True),
    )
    steps = (
        _("In the FastSpring app, open *Developer Tools → Webhooks → Configuration* and click *Add Webhook*."),
        _("Get webhooks from *Live & Test Orders* and switch on *Enable Webhook Expansion*."),
        _("Click *Add URL Endpoint*, paste the URL, and paste the secret into *HMAC SHA256 Secret*."),
        _("Choose the events *order.completed*, *subscription.charge.completed* and *return.created*, and save."),
        _("To let us fetch missed events, create an API credential under *Developer Tools → APIs*."),
    )
    while_down = _(
        "FastSpring repeats events for days, less and less often. With API credentials, we also fetch what it couldn’t"
        " deliver in the last 30 days."
    )
    posted = 0  # events in the request

    def receive(self, incoming: Incoming) -> list[Received]:
        self.verify(incoming)
        events = parse_body(incoming.body)["events"].value
        if not isinstance(events, list):
            raise Malformed(gettext("The request has no list of events."))
        self.posted = len(events)
        return _read_events(events)

    def verify(self, incoming):
        self.check_signature(incoming.headers.get("X-FS-Signature", ""), incoming.body, form="base64")

    def acknowledge(self, events: Sequence[Received]) -> HttpResponse:
        """FastSpring repeats the events that an answer 202 doesn't list."""
        if len(events) == self.posted:
            return HttpResponse(status=200)
        return HttpResponse("\n".join(event.key for event in events), "text/plain; charset=utf-8", 202)

    def translate(self, event: Event) -> list[Change]:
        document = read_json(bytes(event.body))
        topic, data = document["type"].text(), document["data"]
        if topic == "order.completed":
            return [_read_order(data, Node(None))]
        if topic == "subscription.charge.completed":
            return [_read_order(data["order"], data["subscription"])]
        if topic == "return.created":
            return [_read_return(data)]
        raise irrelevant(topic)

    # Catching up

    @property
    def can_catch_up(self) -> bool:
        return bool(self.option("api_user") and self.option("api_password"))

    def list_missed(self, since: datetime, cursor: Any) -> Missed:
        """List unprocessed events. FastSpring answers at most 25 and no next page, so we halve the time until all fit.

        The cursor is a stack of times in milliseconds, the next one last.
        """
        spans = cursor or [[_milliseconds(since), _milliseconds(timezone.now())]]
        (begin, end), rest = spans[-1], spans[:-1]
        login = b64encode(f"{self.option('api_user')}:{self.option('api_password')}".encode()).decode()
        url = f"{self.api}/events/unprocessed?{urlencode({'begin': begin, 'end': end})}"
        page = self.ask("GET", url, headers={"Authorization": f"Basic {login}"})
        if page["more"].flag() and end - begin > 1:
            middle = (begin + end) // 2
            rest = [*rest, [middle, end], [begin, middle]]
        return Missed(_read_events([event.value for event in page["events"]]), rest or None)


def _read_events(events: list[Any]) -> list[Received]:
    """The events that have a valid id."""
    return [
        Received(key, Node(event)["type"].label(), Node(event).encode(), event.get("live") is False)
        for event in events
        if isinstance(event, dict) and isinstance(key := event.get("id"), str) and key.strip() and key.isprintable()
    ]


def _read_order(order: Node, subscription: Node) -> Sale:
    if not isinstance(order.value, dict):
        text = gettext("The event has only ids. Switch on “Enable Webhook Expansion” in FastSpring.")
        raise Parked(Cause.INVALID, text)
    currency = order["currency"].currency()
    account = order["account"]
    customer = order["customer"] or account["contact"]
    items = list(order["items"])
    totals = _divide(order["total"].amount(), [item["subtotal"].amount(Decimal(0)) for item in items], currency)
    return Sale(
        references=tuple(filter(None, (order["id"].needed(), order["reference"].text()))),
        number=order.first("reference", "id"),
        paid_at=order["changedInSeconds"].moment(),
        currency=currency,
        lines=tuple(_read_item(item, total, subscription) for item, total in zip(items, totals, strict=True)),
        email=customer["email"].text(),
        first_name=customer["first"].text(),
        last_name=customer["last"].text(),
        company=customer["company"].text(),
        country=order["address"]["country"].text() or account["country"].text(),
        language=order["language"].text(),
        parameters=order["tags"].texts(),
    )


def _read_item(item: Node, total: Decimal, charged: Node) -> Line:
    product = item["product"].needed()
    subscription = item["subscription"] or charged
    is_expanded = isinstance(subscription.value, dict)
    reference = (subscription["id"] if is_expanded else subscription).text()
    terms = subscription if is_expanded else charged
    return Line(
        reference=product,
        ids=tuple(filter(None, (product, item["sku"].text()))),
        name=item["display"].text(),
        quantity=item["quantity"].integer(),
        total=total,
        subscription=subscribe(
            reference, make_period(terms["intervalUnit"].text(), terms["intervalLength"].integer(1))
        ),
    )


def _divide(total: Decimal, subtotals: list[Decimal], currency: str) -> list[Decimal]:
    """Divide the order's total, which has tax and discounts, among its items in proportion to their subtotals."""
    whole = sum(subtotals)
    if not subtotals or whole <= 0 or min(subtotals) < 0:
        return [total if index == 0 else Decimal(0) for index in range(len(subtotals))]
    unit = Decimal(1).scaleb(-DECIMALS[currency])
    parts = [(total * (subtotal / whole)).quantize(unit) for subtotal in subtotals]
    return [parts[0] + total - sum(parts), *parts[1:]]


def _read_return(refund: Node) -> Refunded:
    original, currency = refund["original"], refund["currency"].currency()
    references = (original["id"].text() or original["order"].needed(), original["reference"].text())
    amount = refund["totalReturn"].amount()
    return Refunded(tuple(filter(None, references)), refund["return"].needed(), amount, currency)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
