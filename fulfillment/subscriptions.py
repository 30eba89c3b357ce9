"""The chain of a subscription's orders: which came first, and which before another.

Shops report renewals late, twice and in any order, and name as parent either the subscription's first order or the one
before. So the chain is found anew each time, from all orders of the subscription that are known by then.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from dateutil.relativedelta import relativedelta
from django.db.models import Q
from django.utils import timezone

from fulfillment.models import Fulfillment
from orders.models import ActivationCode, Order, OrderItem

# How long a renewal waits for an order that should stand before it and was not reported: one that its shop named as
# parent, and one that would fill a gap in the periods.
PARENT_MAY_BE_LATE = timedelta(hours=1)
GAP_MAY_BE_FILLED = timedelta(minutes=15)
UNITS = {"D": "days", "M": "months", "Y": "years"}


class PredecessorMissing(Exception):
    """The license that a renewal goes by is not there yet. The text says which, and is for the merchant."""


def add_period(moment: datetime, period: str, count: int = 1) -> datetime:
    """The moment so many periods later: ISO 8601 durations of one unit, P1Y, P3M or P30D, by the calendar."""
    number, unit = re.fullmatch(r"P(\d+)([YMD])", period).groups()  # type: ignore[union-attr]
    return moment + relativedelta(**{UNITS[unit]: int(number) * count})  # type: ignore[arg-type]


@dataclass
class Link:
    """An order item in a chain."""

    item: OrderItem
    parent: "Link | None" = None

    @property
    def paid_at(self) -> datetime:
        return self.item.order.paid_at or self.item.order.reported_at

    @property
    def depth(self) -> int:
        """How many orders are known to stand before it; a shop that names the first order only makes it one."""
        if not self.item.parent_order:
            return 0
        return self.parent.depth + 1 if self.parent else 1


def chain(item: OrderItem) -> list[Link]:
    """The orders of the item's subscription that are known, first to last, whatever their status.

    Of an order with several items the one of the item's product. An order that is named as parent belongs to it, also
    if its shop reported it without the subscription.
    """
    known = Q(subscription=item.subscription_id)
    if item.parent_order:
        known |= Q(order__merchant=item.order.merchant_id, order__number=item.parent_order, product=item.product_id)
    links: dict[str, Link] = {}
    for other in OrderItem.objects.filter(known).select_related("order", "fulfillment", "product").order_by("pk"):
        number = other.order.number
        if number not in links or other.pk == item.pk or _is_nearer(other, links[number].item, item):
            links[number] = Link(other)
    for link in links.values():
        parent = links.get(link.item.parent_order)
        if parent and not _descends(parent, link):
            link.parent = parent
    return sorted(links.values(), key=lambda link: (link.depth, link.paid_at, link.item.pk))


def _is_nearer(one: OrderItem, other: OrderItem, item: OrderItem) -> bool:
    return other.pk != item.pk and one.product_id == item.product_id != other.product_id


def _descends(link: Link, ancestor: Link) -> bool:
    """Whether it is the other, or comes after it by the parents known so far: shops may name them in a circle."""
    while link is not ancestor:
        if link.parent is None:
            return False
        link = link.parent
    return True


def first_licenses(item: OrderItem) -> dict[int, str]:
    """The licenses of the subscription's first order, by unit; none on it. Raises PredecessorMissing."""
    links = chain(item)
    before = _before(item, links)
    return _licenses(item, before[0] if before else None)


def last_licenses(item: OrderItem) -> dict[int, str]:
    """The licenses that the order before issued, by unit; none on the first order. Raises PredecessorMissing.

    An order that was refunded issued none.
    """
    links = chain(item)
    before = [link for link in _before(item, links) if link.item.order.status == Order.Status.PAID]
    return _licenses(item, before[-1] if before else None)


def _before(item: OrderItem, links: list[Link]) -> list[Link]:
    """The orders that stand before the item's, once those are known that should be."""
    if not item.parent_order:
        return []
    own = next(index for index, link in enumerate(links) if link.item.order_id == item.order_id)
    before = links[:own]
    age = timezone.now() - item.order.reported_at
    root = links[own]
    while root.parent:
        root = root.parent
    if root.item.parent_order and age < PARENT_MAY_BE_LATE:
        raise PredecessorMissing(
            f"It waits for order {root.item.parent_order}, the parent of {root.item.order.number}, to be reported."
        )
    if before and age < GAP_MAY_BE_FILLED and _leaves_gap(before[-1], links[own]):
        raise PredecessorMissing(
            f"Since order {before[-1].item.order.number} more than one period has passed: it waits some minutes for a"
            " renewal in between."
        )
    return before


def _leaves_gap(before: Link, after: Link) -> bool:
    """Whether a renewal in between is to be expected: not if the shop names one before that is a renewal."""
    if before.item.parent_order and after.parent is before:
        return False
    period = after.item.subscription.period  # type: ignore[union-attr]
    expected = add_period(before.paid_at, period)
    nearly_two = expected + (add_period(expected, period) - expected) * 0.8
    return after.paid_at >= nearly_two


def _licenses(item: OrderItem, link: Link | None) -> dict[int, str]:
    """The codes of an order that stands before the item's, by unit. Raises PredecessorMissing while it waits."""
    if link is None:
        return {}
    before = link.item
    if before.order.status == Order.Status.PAID and before.fulfillment.status != Fulfillment.Status.DONE:
        raise PredecessorMissing(
            f"It waits for the license of order {before.order.number}, which is {before.fulfillment.status}."
        )
    return {code.unit: code.code for code in ActivationCode.objects.filter(item=before)}
