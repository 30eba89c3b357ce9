"""The chain of a subscription's orders: which came first, and which before another.

Shops report renewals late, twice and in any order, and name as parent either the subscription's first order or the one
before. So the chain is found anew each time, from all orders of the subscription that are known by then.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush

from django.db.models import Q
from django.db.models.functions import Now

from orders.models import ActivationCode, Order, OrderItem

# How long a renewal waits for a parent that its shop named and has not reported.
PARENT_TIMEOUT = timedelta(hours=1)
UNITS = {"D": "day", "W": "week", "M": "month", "Y": "year"}


class PredecessorMissing(Exception):
    """The license that a renewal goes by is not there yet. The text says which, and is for the merchant.

    `until` is when the renewal goes on without it; None while an order that is known has to be finished first.
    """

    def __init__(self, message: str, *, until: datetime | None = None):
        super().__init__(message)
        self.until = until


def split_period(period: str) -> tuple[int, str]:
    """An ISO 8601 duration of one unit, P1Y, P3M, P2W or P30D, as a number and its unit: day, week, month or year."""
    number, unit = re.fullmatch(r"P(\d+)([YMWD])", period).groups()  # type: ignore[union-attr]
    return int(number), UNITS[unit]


@dataclass(eq=False)
class SubscriptionOrder:
    item: OrderItem
    parent_order: str = ""  # the number of the order that its shop says it renews; none of the first
    parent: "SubscriptionOrder | None" = field(default=None, repr=False)

    @property
    def number(self) -> str:
        return self.item.order.number

    @property
    def paid_at(self) -> datetime:
        return self.item.order.paid_at or self.item.order.reported_at

    @property
    def is_paid(self) -> bool:
        return self.item.order.status == Order.Status.PAID

    @property
    def rank(self) -> tuple:
        """What stands before what, parents aside. Of orders paid in the same moment the one with the lower number."""
        return bool(self.parent_order), self.paid_at, len(self.number), self.number

    @property
    def root(self) -> "SubscriptionOrder":
        link = self
        while link.parent:
            link = link.parent
        return link


def subscription_orders(item: OrderItem) -> list[SubscriptionOrder]:
    return subscription_orders_by_item([item]).get(item.pk, [])


def subscription_orders_by_item(items: Sequence[OrderItem]) -> dict[int, list[SubscriptionOrder]]:
    """The chains of those of one merchant's items that have a subscription, by the item's key. Takes one query.

    Of an order with several items the one that is nearest to the item. An order that is named as parent belongs to the
    chain, also if its shop reported it without the subscription.
    """
    items = [item for item in items if item.subscription_id]
    if not items:
        return {}
    own = OrderItem.objects.filter(subscription__in={item.subscription_id for item in items})
    named = OrderItem.objects.filter(
        order__merchant=items[0].order.merchant_id, order__number__in=own.values("parent_order")
    )
    # A union: with an OR over two tables no index would serve.
    known = OrderItem.objects.filter(pk__in=own.values("pk").union(named.values("pk")))
    rows = list(known.select_related("order", "fulfillment", "product", "subscription"))
    return {item.pk: _link(item, rows) for item in items}


def _link(item: OrderItem, rows: list[OrderItem]) -> list[SubscriptionOrder]:
    names = {row.parent_order for row in rows if row.subscription_id == item.subscription_id}
    groups = defaultdict(list)
    for row in rows:
        if row.subscription_id == item.subscription_id or row.order.number in names:
            groups[row.order.number].append(row)
    links = {}
    for number, group in groups.items():
        nearest = min(group, key=lambda row: _distance(row, item))
        in_chain = nearest.subscription_id == item.subscription_id
        if in_chain or nearest.product_id == item.product_id or len(group) == 1:
            # Of an order from outside the subscription it is not asked what that one renewed.
            parent_order = nearest.parent_order if in_chain and nearest.parent_order != number else ""
            links[number] = SubscriptionOrder(nearest, parent_order)
    # The newest first: where shops name orders in a circle, the oldest stays without a parent.
    for link in sorted(links.values(), key=lambda link: link.rank, reverse=True):
        parent = links.get(link.parent_order)
        if parent and parent.root is not link:
            link.parent = parent
    return _sort(list(links.values()))


def _distance(row: OrderItem, item: OrderItem) -> tuple:
    return (
        row.pk != item.pk,
        row.subscription_id != item.subscription_id,
        row.product_id != item.product_id,
        row.reference != item.reference,
        row.pk,
    )


def _sort(links: list[SubscriptionOrder]) -> list[SubscriptionOrder]:
    """In the order of time, but none before its parent."""
    children = defaultdict(list)
    for link in links:
        children[link.parent].append(link)
    ready = [(link.rank, link) for link in children[None]]
    heapify(ready)
    ordered = []
    while ready:
        _, link = heappop(ready)
        ordered.append(link)
        for child in children[link]:
            heappush(ready, (child.rank, child))
    return ordered


def first_licenses(item: OrderItem) -> dict[int, str]:
    """The licenses of the subscription's first order, by unit; none on it. Raises PredecessorMissing.

    Orders that were refunded don't count: their licenses are withdrawn, and nobody should renew those.
    """
    return _codes(_finished(_find_first(*_find(item))))


def last_licenses(item: OrderItem) -> dict[int, str]:
    """The licenses that the order before issued, by unit; none on the first order. Raises PredecessorMissing.

    Orders that were refunded don't count.
    """
    return _codes(_finished(_find_last(*_find(item))))


def known_first_licenses(item: OrderItem) -> list[str]:
    """The licenses of the subscription's first order as far as they are there now; none on it."""
    own, links = _find(item)
    first = _first(own, links)
    return [] if first is own or first.parent_order else list(_codes(_first_paid(first, own, links)).values())


def find_wait(item: OrderItem, links: list[SubscriptionOrder] | None = None) -> PredecessorMissing | None:
    own, links = _find(item, links)
    try:
        for find in (_find_first, _find_last):
            _finished(find(own, links))
    except PredecessorMissing as missing:
        return missing
    return None


def _find_first(own: SubscriptionOrder, links: list[SubscriptionOrder]) -> SubscriptionOrder | None:
    first = _first(own, links)
    if not _is_reported(first, links) or first is own:
        return None
    return _first_paid(first, own, links)


def _find_last(own: SubscriptionOrder, links: list[SubscriptionOrder]) -> SubscriptionOrder | None:
    if not own.parent_order:
        return None
    before = links[: links.index(own)]
    if own.parent is None and not any(link.parent_order == own.parent_order for link in before):
        _is_reported(own, links)
    return next((link for link in reversed(before) if link.is_paid), None)


def _find(
    item: OrderItem, links: list[SubscriptionOrder] | None = None
) -> tuple[SubscriptionOrder, list[SubscriptionOrder]]:
    links = links or subscription_orders(item)
    return next(link for link in links if link.item.pk == item.pk), links


def _first(own: SubscriptionOrder, links: list[SubscriptionOrder]) -> SubscriptionOrder:
    """The first order, or the oldest known that leads to the item's; the chain begins with one that renews none."""
    return links[0] if own.root.parent_order and not links[0].parent_order else own.root


def _first_paid(
    first: SubscriptionOrder, own: SubscriptionOrder, links: list[SubscriptionOrder]
) -> SubscriptionOrder | None:
    """The first order, or if it was refunded the first one after it, and before the item's, that was not."""
    if first.is_paid:
        return first
    return next((link for link in links[: links.index(own)] if link.is_paid), None)


def _is_reported(link: SubscriptionOrder, links: list[SubscriptionOrder]) -> bool:
    """Whether the order that a link names belongs to the chain, if it names one; False if it never will.

    Only the shop's word says that it exists, so it is waited for, from the first report that named it. It is not if it
    was reported, and holds nothing of the subscription. Raises PredecessorMissing.
    """
    name = link.parent_order
    if not name or any(other.number == name for other in links):
        return True
    naming = (other.item.order for other in links if other.parent_order == name)
    first = min(naming, key=lambda order: order.reported_at)
    too_late = Q(pk=first.pk, reported_at__lte=Now() - PARENT_TIMEOUT)  # by the database's clock, in one query
    if Order.objects.filter(Q(number=name) | too_late, merchant=first.merchant_id).exists():
        return False
    until = first.reported_at + PARENT_TIMEOUT
    raise PredecessorMissing(f"It waits for order {name}, the parent of {link.number}, to be reported.", until=until)


def _finished(link: SubscriptionOrder | None) -> SubscriptionOrder | None:
    """The same order, or PredecessorMissing while it waits for its codes."""
    if link and not link.item.fulfillment.is_done:
        status = link.item.fulfillment.status
        raise PredecessorMissing(f"It waits for the license of order {link.number}, which is {status}.")
    return link


def _codes(link: SubscriptionOrder | None) -> dict[int, str]:
    codes = ActivationCode.objects.filter(item=link.item).order_by("unit") if link else []
    return {code.unit: code.code for code in codes}
