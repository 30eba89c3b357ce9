"""Shops that ask for the license of each sale, and show it to the customer themselves.

A kind verifies and translates the request like others, and writes the codes in the shop's dialect.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from django.http import HttpResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from shops.changes import Cause, Line, Parked, Sale
from shops.kinds.base import Received, ShopKind, read_form
from shops.models import Event
from shops.reading import Node

# Requests without an address or a currency are for customers and sums that only the shop knows.
UNKNOWN_ADDRESS = "unknown@customer.invalid"
NO_CURRENCY = "XXX"  # as in ISO 4217
RETRY_AFTER = 60  # seconds


class Answering(ShopKind):
    while_down = _("The shop gets no license, and asks again or tells you.")

    def wants_license(self, received: Received) -> bool:
        """Whether the request is for a license. Others are answered like those of any shop."""
        return True

    def write(self, codes: Sequence[str]) -> HttpResponse:
        """Answer with the codes of the sale."""
        return HttpResponse("\n".join(codes), "text/plain; charset=utf-8")

    def write_error(self, reason: str) -> HttpResponse:
        """Answer that there are no codes yet. Nothing in it may look like a license."""
        headers = {"Retry-After": str(RETRY_AFTER)}
        return HttpResponse(f"{reason}\n", "text/plain; charset=utf-8", 503, headers=headers)


def parse_form(event: Event) -> Node:
    """The form of a stored event."""
    return Node(read_form(bytes(event.body)))


def join(*names: str) -> str:
    """Make one name of several, of an order and a product, say. Different ones never make the same name."""
    return ":".join(name.replace("%", "%25").replace(":", "%3A") for name in names)


def make_sale(
    event: Event,
    *,
    number: str,
    ids: Sequence[str],
    quantity: int,
    total: Decimal = Decimal(0),
    currency: str = NO_CURRENCY,
    subscription: Mapping[str, Any] | None = None,
    reference: str = "",
    email: str = "",
    **customer: Any,
) -> Sale:
    """Return a sale of one product. Each product of a shop's order has a request, and so an order, of its own.

    `reference` is the shop's id of the sale, if it differs from the number.
    """
    if quantity < 1:
        raise Parked(Cause.INVALID, gettext("The quantity must be at least 1."))
    line = Line("1", tuple(dict.fromkeys(filter(None, ids))), quantity, total, subscription=subscription)
    return Sale(
        references=(reference or number,),
        number=number,
        paid_at=event.created_at,
        currency=currency,
        lines=(line,),
        email=email or UNKNOWN_ADDRESS,
        **customer,
    )
