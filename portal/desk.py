"""The place where a person works on one order. Members have it in the portal, support staff in the admin."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q
from django.urls import reverse

from fulfillment.history import order_history
from fulfillment.models import DeliveredCode, Delivery, Fulfillment
from fulfillment.services import why_not_resend
from orders.models import ActivationCode, Order, OrderItem

# How many units of an item a page shows.
UNITS_SHOWN = 20


@dataclass(frozen=True)
class Desk:
    order: Order
    by: str  # who works at it, for the history
    prefix: str  # of the names of its addresses
    key: str | int  # what the order is called in them
    page: str = "portal/order.html"
    base: str = "base.html"  # what its other pages extend
    extra: dict[str, Any] = field(default_factory=dict)  # context of its pages

    def url(self, action: str = "", *arguments: Any) -> str:
        return reverse(f"{self.prefix}-{action}" if action else self.prefix, args=[self.key, *arguments])

    def surroundings(self) -> dict[str, Any]:
        """Context of every page of the desk."""
        return {
            "section": "orders",
            "desk": self,
            "order": self.order,
            "base": self.base,
            "cancel": self.url(),
        } | self.extra

    def context(self, first_unit: int = 1, revealed: dict[int, str] | None = None) -> dict[str, Any]:
        """What templates/desk shows: the order with its items, codes and history. `revealed` are texts by code."""
        history = order_history(self.order)
        items = show_items(self.order, first_unit, revealed or {})
        return self.surroundings() | {
            "address": self.url() + (f"?from={first_unit}" if first_unit > 1 else ""),
            "items": items,
            "total": sum(shown.item.total_price for shown in items),
            "history": history,
            "in_flight": any(is_in_flight(delivery) for delivery in self.order.deliveries.all()),
        }


def is_in_flight(delivery: Delivery) -> bool:
    """Whether to look again in a moment is worth it."""
    return delivery.status == Delivery.Status.QUEUED and delivery.attempts < 3


@dataclass(frozen=True)
class ShownCode:
    """The Activation code block."""

    code: ActivationCode
    mails: list[Delivery]
    text: str  # empty: masked
    why_not_resend: str


@dataclass(frozen=True)
class ShownItem:
    item: OrderItem
    codes: list[ShownCode]
    missing: int
    why_not_resend: str  # what is missing
    first_unit: int

    @property
    def last_unit(self) -> int:
        return min(self.item.units, self.first_unit + UNITS_SHOWN - 1)

    @property
    def previous(self) -> int | None:
        return max(1, self.first_unit - UNITS_SHOWN) if self.first_unit > 1 else None

    @property
    def next(self) -> int | None:
        return self.last_unit + 1 if self.last_unit < self.item.units else None

    @property
    def can_be_retried(self) -> bool:
        unfinished = self.item.fulfillment.status != Fulfillment.Status.DONE
        return unfinished and self.item.order.status == Order.Status.PAID


def show_items(order: Order, first_unit: int, revealed: dict[int, str]) -> list[ShownItem]:
    """The items of an order with the units from the given one on; those of short items are all shown."""
    in_window = Q(unit__gte=first_unit, unit__lt=first_unit + UNITS_SHOWN) | Q(item__units__lte=UNITS_SHOWN)
    codes = list(ActivationCode.objects.filter(in_window, item__order=order).defer("code").order_by("unit"))
    deliveries = {delivery.pk: delivery for delivery in order.deliveries.all()}
    mails = defaultdict(list)
    rows = DeliveredCode.objects.filter(code__in=codes).order_by("delivery_id")
    for code_id, delivery_id in rows.values_list("code_id", "delivery_id"):
        mails[code_id].append(deliveries[delivery_id])

    reason = why_not_resend(order, saved=True)
    blocks = defaultdict(list)
    for code in codes:
        blocks[code.item_id].append(ShownCode(code, mails[code.pk], revealed.get(code.pk, ""), reason))
    return [
        ShownItem(
            item,
            blocks[item.pk],
            missing=item.units - item.code_count,  # type: ignore[attr-defined]
            why_not_resend=why_not_resend(order, saved=False),
            first_unit=first_unit if item.units > UNITS_SHOWN else 1,
        )
        for item in order.items.all()
    ]
