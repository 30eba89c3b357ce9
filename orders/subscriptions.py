"""Determines the sequence of a subscription's orders: which is first, and which precedes another.

Shops report renewals late, twice and in any order. As the parent they name the subscription's first order or the
previous one. So we compute the sequence each time, from all orders of the subscription known so far.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush

from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext

from orders.models import ActivationCode, Order, OrderItem

# How long a renewal waits for a parent order that the shop hasn't reported.
PARENT_TIMEOUT = timedelta(hours=1)
UNITS = {"D": "day", "W": "week", "M": "month", "Y": "year"}


class PredecessorMissing(Exception):
    """The license that a renewal depends on is missing. The merchant sees the message.

    At `until` the renewal continues without it. None if it waits for a known order to finish.
    """

    def __init__(self, message: str, *, until: datetime | None = None):
        super().__init__(message)
        self.until = until


def split_period(period: str) -> tuple[int, str]:
    """Split an ISO 8601 duration (P1Y, P3M, P2W, P30D) into a number and a unit: day, week, month or year."""
    number, unit = re.fullmatch(r"P(\d+)([YMWD])", period).groups()  # type: ignore[union-attr]
    return int(number), UNITS[unit]


@dataclass(eq=False)
class SubscriptionOrder:
    item: OrderItem
    parent_order: str = ""  # number of the order that the shop says it renews; empty for the first order
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
        """Sort key that ignores parents: by time of payment, then by number."""
        return bool(self.parent_order), self.paid_at, len(self.number), self.number

    @property
    def root(self) -> "SubscriptionOrder":
        order = self
        while order.parent:
            order = order.parent
        return order


def subscription_orders(item: OrderItem) -> list[SubscriptionOrder]:
    return subscription_orders_by_item([item]).get(item.pk, [])


def subscription_orders_by_item(items: Sequence[OrderItem]) -> dict[int, list[SubscriptionOrder]]:
    """Return the orders of each item's subscription by the item's primary key, in one query.

    All items must belong to one merchant; items without a subscription are skipped. If an order has several items, the
    most similar one represents it. A parent order is included even if it was reported without the subscription.
    """
    items = [item for item in items if item.subscription_id]
    if not items:
        return {}
    own = OrderItem.objects.filter(subscription__in={item.subscription_id for item in items})
    named = OrderItem.objects.filter(
        order__merchant=items[0].order.merchant_id, order__number__in=own.values("parent_order")
    )
    # A union, because PostgreSQL can't use an index for an OR across two tables.
    known = OrderItem.objects.filter(pk__in=own.values("pk").union(named.values("pk")))
    rows = list(known.select_related("order", "fulfillment", "product", "subscription"))
    return {item.pk: _connect_orders(item, rows) for item in items}


def _connect_orders(item: OrderItem, rows: list[OrderItem]) -> list[SubscriptionOrder]:
    names = {row.parent_order for row in rows if row.subscription_id == item.subscription_id}
    groups = defaultdict(list)
    for row in rows:
        if row.subscription_id == item.subscription_id or row.order.number in names:
            groups[row.order.number].append(row)
    orders = {}
    for number, group in groups.items():
        nearest = min(group, key=lambda row: _distance(row, item))
        in_subscription = nearest.subscription_id == item.subscription_id
        if in_subscription or nearest.product_id == item.product_id or len(group) == 1:
            # Ignore the parent of an order that isn't part of the subscription.
            parent_order = nearest.parent_order if in_subscription and nearest.parent_order != number else ""
            orders[number] = SubscriptionOrder(nearest, parent_order)
    # Newest first, so that if the parents form a cycle, the oldest order has no parent.
    for order in sorted(orders.values(), key=lambda order: order.rank, reverse=True):
        parent = orders.get(order.parent_order)
        if parent and parent.root is not order:
            order.parent = parent
    return _sort(list(orders.values()))


def _distance(row: OrderItem, item: OrderItem) -> tuple:
    return (
        row.pk != item.pk,
        row.subscription_id != item.subscription_id,
        row.product_id != item.product_id,
        row.reference != item.reference,
        row.pk,
    )


def _sort(orders: list[SubscriptionOrder]) -> list[SubscriptionOrder]:
    """Sort by time, but never put an order before its parent."""
    children = defaultdict(list)
    for order in orders:
        children[order.parent].append(order)
    ready = [(order.rank, order) for order in children[None]]
    heapify(ready)
    ordered = []
    while ready:
        _, order = heappop(ready)
        ordered.append(order)
        for child in children[order]:
            heappush(ready, (child.rank, child))
    return ordered


def first_licenses(item: OrderItem) -> dict[int, str]:
    """The licenses of the subscription's first order, by unit; empty for that order. Raises PredecessorMissing.

    Skips refunded orders, because their licenses are withdrawn and must not be renewed.
    """
    return _codes(_finished(_find_first(*_find(item))))


def last_licenses(item: OrderItem) -> dict[int, str]:
    """The licenses of the previous order, by unit; empty for the first order. Raises PredecessorMissing.

    Skips refunded orders.
    """
    return _codes(_finished(_find_last(*_find(item))))


def known_first_licenses_by_item(items: Sequence[OrderItem]) -> dict[int, list[ActivationCode]]:
    """The licenses of each subscription's first order that exist now, by the item's primary key.

    Empty for that order itself. All items must belong to one merchant. This takes two queries.
    """
    firsts: dict[int, int | None] = {}
    for pk, orders in subscription_orders_by_item(items).items():
        own = next(order for order in orders if order.item.pk == pk)
        first = _first(own, orders)
        paid = None if first is own or first.parent_order else _first_paid(first, own, orders)
        firsts[pk] = paid.item.pk if paid else None
    found = defaultdict(list)
    for code in ActivationCode.objects.filter(item__in=set(firsts.values()) - {None}).order_by("item", "unit"):
        found[code.item_id].append(code)
    return {pk: found[first] for pk, first in firsts.items() if first}


def find_wait(item: OrderItem, orders: list[SubscriptionOrder] | None = None) -> PredecessorMissing | None:
    own, orders = _find(item, orders)
    try:
        for find in (_find_first, _find_last):
            _finished(find(own, orders))
    except PredecessorMissing as missing:
        return missing
    return None


def _find_first(own: SubscriptionOrder, orders: list[SubscriptionOrder]) -> SubscriptionOrder | None:
    first = _first(own, orders)
    if not _is_reported(first, orders) or first is own:
        return None
    return _first_paid(first, own, orders)


def _find_last(own: SubscriptionOrder, orders: list[SubscriptionOrder]) -> SubscriptionOrder | None:
    if not own.parent_order:
        return None
    before = orders[: orders.index(own)]
    if own.parent is None and not any(order.parent_order == own.parent_order for order in before):
        _is_reported(own, orders)
    return next((order for order in reversed(before) if order.is_paid), None)


def _find(
    item: OrderItem, orders: list[SubscriptionOrder] | None = None
) -> tuple[SubscriptionOrder, list[SubscriptionOrder]]:
    orders = orders or subscription_orders(item)
    return next(order for order in orders if order.item.pk == item.pk), orders


def _first(own: SubscriptionOrder, orders: list[SubscriptionOrder]) -> SubscriptionOrder:
    """Return the first order, or the oldest known ancestor if the first order itself isn't known."""
    return orders[0] if own.root.parent_order and not orders[0].parent_order else own.root


def _first_paid(
    first: SubscriptionOrder, own: SubscriptionOrder, orders: list[SubscriptionOrder]
) -> SubscriptionOrder | None:
    """Return the first order, or if it was refunded the next paid order before the item's own."""
    if first.is_paid:
        return first
    return next((order for order in orders[: orders.index(own)] if order.is_paid), None)


def _is_reported(order: SubscriptionOrder, orders: list[SubscriptionOrder]) -> bool:
    """Whether the parent of this order is among the known ones, if it has a parent; False if it never will be.

    That is the case if the parent was reported without the subscription, or wasn't reported within PARENT_TIMEOUT of
    the first report that named it. Raises PredecessorMissing while we wait for it.
    """
    name = order.parent_order
    if not name or any(other.number == name for other in orders):
        return True
    naming = (other.item.order for other in orders if other.parent_order == name)
    first = min(naming, key=lambda order: order.reported_at)
    too_late = Q(pk=first.pk, reported_at__lte=Now() - PARENT_TIMEOUT)  # by the database's clock, in one query
    if Order.objects.filter(Q(number=name) | too_late, merchant=first.merchant_id).exists():
        return False
    until = first.reported_at + PARENT_TIMEOUT
    raise PredecessorMissing(
        gettext("Waiting for a report of order {name}, the parent of {number}.").format(
            name=name, number=order.number
        ),
        until=until,
    )


def _finished(order: SubscriptionOrder | None) -> SubscriptionOrder | None:
    """Return the order. Raises PredecessorMissing if it still waits for its codes."""
    if order and not order.item.fulfillment.is_done:
        status = order.item.fulfillment.status
        raise PredecessorMissing(
            gettext("Waiting for the license of order {number}, which is {status}.").format(
                number=order.number, status=gettext(status)
            )
        )
    return order


def _codes(order: SubscriptionOrder | None) -> dict[int, str]:
    codes = ActivationCode.objects.filter(item=order.item).order_by("unit") if order else []
    return {code.unit: code.code for code in codes}
