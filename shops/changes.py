"""What an event of a shop means for orders. Kinds translate events into these, and `sales.py` applies them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _


class Cause(models.TextChoices):
    """Why an event is parked."""

    UNMAPPED = "unmapped", _("unknown product")
    NO_ADDRESS = "address", _("no e-mail address")
    UNPAID = "unpaid", _("not paid yet")
    NO_SALE = "no_sale", _("sale not reported yet")
    ACCESS = "access", _("no access to the shop’s API")
    INVALID = "invalid", _("invalid content")
    REFUSED = "refused", _("refused by the order")


class Parked(Exception):
    """The event can't be used yet. The message is for the merchant. `waits_for` are external ids that may come."""

    def __init__(self, cause: Cause, message: str, waits_for: Sequence[str] = ()):
        super().__init__(message)
        self.cause, self.waits_for = cause, list(waits_for)


class Irrelevant(Exception):
    """The event changes nothing. The message tells the merchant why."""


@dataclass(frozen=True, eq=False)
class Line:
    """A line of a sale. `ids` are the shop's names of the product, the most specific one first."""

    reference: str
    ids: tuple[str, ...]
    quantity: int | Decimal  # a decimal of goods that are sold by weight
    total: Decimal  # of all units, with tax and discount
    name: str = ""
    subscription: Mapping[str, Any] | None = None  # as in the payments API

    @property
    def is_sold(self) -> bool:
        """Whether it can be sold with a license, as in the payments API. Corrections have negative numbers."""
        return self.quantity > 0 and self.total >= 0


PERIOD = re.compile(r"P[1-9][0-9]{0,3}[YMWD]")
UNITS = {"year": "Y", "month": "M", "week": "W", "day": "D"}


def subscribe(reference: str, period: str) -> dict[str, Any] | None:
    """A line's subscription by the shop's id, or None if there is none. `period` is in ISO 8601, such as P1Y."""
    if not reference or not PERIOD.fullmatch(period):
        return None
    return {"id": reference[:64], "type": "AR", "period": period, "parent_order": None}


def make_period(unit: str, count: int) -> str:
    """Return a period in ISO 8601 from a unit such as “month” or “months”; empty if it is unknown."""
    letter = UNITS.get(unit.lower().removesuffix("s"), "")
    return f"P{count}{letter}" if letter and 1 <= count <= 9999 else ""


@dataclass(frozen=True)
class Sale:
    """A paid order. `references` are the shop's ids by which later events name it, its own id first."""

    references: tuple[str, ...]
    number: str
    paid_at: datetime
    currency: str
    lines: tuple[Line, ...]
    email: str
    first_name: str = ""
    last_name: str = ""
    company: str = ""
    country: str = ""
    language: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Refunded:
    """Money that went back: `amount`, or everything that is left. `reference` is the shop's id of the refund."""

    references: tuple[str, ...]
    reference: str
    amount: Decimal | None = None
    currency: str = ""
    is_sum: bool = False  # the amount is the sum of all refunds so far
    disputed_at: datetime | None = None  # set for chargebacks: when it began. One that was undone later is over.


@dataclass(frozen=True)
class Restored:
    """A full refund, such as a chargeback, was undone at this moment."""

    references: tuple[str, ...]
    moment: datetime


@dataclass(frozen=True)
class Approved:
    """The shop has checked the sale for fraud and found none."""

    references: tuple[str, ...]


Change = Sale | Refunded | Restored | Approved
