"""The desk, where a person works on one order: in the portal for members, in the admin for support staff."""

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Exists, Model, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import JSONObject
from django.urls import reverse
from django.utils.translation import gettext, ngettext_lazy

from delivery.models import DeliveredCode, Delivery
from delivery.resending import why_not_resend
from fulfillment.actions import why_not_return
from fulfillment.history import order_history
from fulfillment.models import Fulfillment, HeldCode
from licensing.models import Licensee, Transaction
from orders.kinds import SOURCES
from orders.models import ActivationCode, Order, OrderEvent, OrderItem, OtherItem
from orders.subscriptions import (
    PredecessorMissing,
    SubscriptionOrder,
    find_wait,
    split_period,
    subscription_orders_by_item,
)
from outbound.masking import mask_answer
from pools.models import LicenseKey, LicensePool
from portal.orders.headline import headline
from work.stored_texts import in_english

# Limits per page.
ITEMS_SHOWN = 10
UNITS_SHOWN, UNITS_SHOWN_OF_MANY = 30, 2  # per item, in an order with few or many items
BLOCKS_SHOWN = 5  # codes of an item with a block each; if there are more, each takes one line
LINES_SHOWN = 10, 90  # of the history: from the start and from the end
ORDERS_SHOWN = 11  # of a subscription: around the current order, in addition to the first one


EVERY = {
    "day": ngettext_lazy("every day", "every %(count)d days", "count"),
    "week": ngettext_lazy("every week", "every %(count)d weeks", "count"),
    "month": ngettext_lazy("every month", "every %(count)d months", "count"),
    "year": ngettext_lazy("every year", "every %(count)d years", "count"),
}


def orders_for_desk() -> QuerySet[Order]:
    """Orders with what a Desk reads of them."""
    others = OtherItem.objects.filter(order=OuterRef("pk"))
    return Order.objects.select_related("merchant", "checkout_page").annotate(has_other_items=Exists(others))


@dataclass(frozen=True)
class Desk:
    order: Order
    actor: str  # for the history
    prefix: str  # of the names of its URL patterns
    key: str | int  # identifies the order in URLs
    query: dict[str, str] = field(default_factory=dict)  # added to all URLs
    page: str = "portal/orders/order.html"
    base: str = "base.html"  # base template of the other pages
    extra: dict[str, Any] = field(default_factory=dict)  # additional template context
    sees_sources: bool = True  # pools, servers and requests, which support members don't

    def url(self, action: str = "", *arguments: Any, **query: Any) -> str:
        path = reverse(f"{self.prefix}-{action}" if action else self.prefix, args=[self.key, *arguments])
        query = self.query | query
        return f"{path}?{urlencode(query)}" if query else path

    get_absolute_url = url

    def url_of(self, code: ActivationCode) -> str:
        return self.url(**self.place(code))

    def url_of_order(self, order: Order) -> str:
        """The desk of another order of the merchant."""
        key = order.key if self.in_portal else order.pk
        return Desk(order, self.actor, self.prefix, key, self.query).url()

    def url_of_licensee(self, licensee: Licensee) -> str:
        return reverse("licensee" if self.in_portal else "admin:licensing_licensee_change", args=[licensee.pk])

    def url_of_item(self, item: OrderItem) -> str:
        return f"{self.url(**self._part(item))}#item-{item.pk}"

    def url_of_place(self, place: Model | None, *arguments: Any, name: str = "") -> str:
        """The page of a pool, a server or another place that codes come from; empty if there is none.

        In the portal, `name` selects another page than the object's own.
        """
        if place is None or not self.sees_sources:
            return ""
        if not self.in_portal:
            options: Any = place._meta
            return reverse(f"admin:{options.app_label}_{options.model_name}_change", args=[place.pk])
        path = reverse(name, args=arguments) if name else place.get_absolute_url()  # type: ignore[attr-defined]
        return f"{path}{'&' if '?' in path else '?'}{urlencode(self.query)}" if self.query else path

    def url_of_import(self, pool: LicensePool) -> str:
        return self.url_of_place(pool, pool.pk, name="pool-import")

    @property
    def in_portal(self) -> bool:
        return isinstance(self.key, str)

    def _part(self, item: OrderItem) -> dict[str, Any]:
        before = self.order.items.filter(pk__lt=item.pk).count()
        return {"items": before // ITEMS_SHOWN * ITEMS_SHOWN + 1} if before >= ITEMS_SHOWN else {}

    def place(self, code: ActivationCode) -> dict[str, Any]:
        part = self._part(code.item)
        return part if code.unit <= units_shown(self.order.items.count()) else part | {"from": code.unit}

    def base_context(self) -> dict[str, Any]:
        """Context for all pages of the desk."""
        return {
            "section": "orders",
            "desk": self,
            "order": self.order,
            "base": self.base,
        } | self.extra

    def context(
        self, place: dict[str, Any], *, all_history: bool = False, revealed: dict[int, str] | None = None
    ) -> dict[str, Any]:
        """Context for templates/desk: the order with its items, codes and history.

        `place` selects the part to show: the first item (`items`) and the first unit (`from`), counted from 1.
        `revealed` maps codes to their texts.
        """
        history = order_history(self.order)
        items = list(self.order.items.all())
        others = list(self.order.other_items.order_by("pk")) if self.order.has_other_items else []  # type: ignore[attr-defined]
        is_paid = self.order.status == Order.Status.PAID
        can_be_mapped = bool(others) and is_paid and self.order.other_items.mappable().exists()
        summary = headline(self, can_be_mapped=can_be_mapped)
        has_codes = any(item.code_count for item in items)  # type: ignore[attr-defined]
        can_resend = has_codes and not why_not_resend(self.order, saved=True)
        first = place.get("items", 1)
        shown = show_items(self, items[first - 1 :][:ITEMS_SHOWN], place.get("from", 1), revealed or {})
        start, end = LINES_SHOWN
        cut = 0 if all_history else max(0, len(history) - start - end)
        return self.base_context() | {
            "address": self.url(**place),
            "test_recipients": self.order.merchant.test_recipients(self.order.email)
            if self.order.merchant.is_test
            else [],
            "items": shown,
            "first_item": first,
            "items_before": max(1, first - ITEMS_SHOWN) if first > 1 else None,
            "items_after": first + ITEMS_SHOWN if first + ITEMS_SHOWN <= len(items) else None,
            "total": sum(item.total_price for item in items) + sum(item.total_price for item in others),
            "others": others,
            "can_be_mapped": can_be_mapped,
            "headline": summary,
            "can_resend": can_resend,
            "offers_fix": summary.action is not None and summary.action.url == self.url("fix-address"),
            # Unless the headline or an item offers the same.
            "resends_all": can_resend
            and len(items) > 1
            and self.url("resend-all") != (summary.action and summary.action.url),
            "history": [history[:start], history[start + cut :]],
            "lines_left_out": cut,
            "in_flight": any(is_in_flight(delivery) for delivery in self.order.deliveries.all()),
        }


def units_shown(items: int) -> int:
    """How many units of each item the page shows, in an order with this many items."""
    return UNITS_SHOWN if items <= 2 else UNITS_SHOWN_OF_MANY


def is_in_flight(delivery: Delivery) -> bool:
    """Whether the page should refresh to show the outcome of this e-mail."""
    return delivery.status == Delivery.Status.QUEUED and delivery.attempts < 3


@dataclass(frozen=True)
class ShownCode:
    code: ActivationCode
    mails: list[Delivery]
    text: str  # empty unless revealed
    why_not_resend: str
    can_be_replaced: bool
    can_return: bool
    licensee: "ShownLicensee | None"
    traces: list["Link"] = field(default_factory=list)  # where it came from

    @property
    def origin(self) -> str:
        return SOURCES[self.code.source].describe_origin(self.code.saved_by)

    @property
    def last_mail(self) -> Delivery | None:
        return self.mails[-1] if self.mails else None


@dataclass(frozen=True)
class Link:
    text: str
    url: str  # empty for those who may not see the page


@dataclass(frozen=True)
class ShownLicensee:
    """The licensee whose number a code is."""

    name: str
    url: str
    transferred_to: list["ShownLicensee"] = field(default_factory=list)


@dataclass(frozen=True)
class ShownOrder:
    """An order of a subscription, or a gap of omitted ones."""

    number: str = ""
    url: str = ""  # empty for the current order, and for one that wasn't reported
    note: str = ""
    omitted: int = 0  # length of the gap


@dataclass(frozen=True)
class ShownHeld:
    """A held code. Its text is readable except for parts that may be a code, which are masked."""

    held: HeldCode
    text: str


@dataclass(frozen=True)
class ShownItem:
    item: OrderItem
    subscription_orders: list[ShownOrder]
    codes: list[ShownCode]
    missing: int
    why_not_resend: str  # why missing codes can't be resent
    resends_all: bool  # whether to offer to resend all of its codes in one e-mail
    units: range
    has_reserve: bool
    known_orders: list[SubscriptionOrder]
    held: list["ShownHeld"]

    @property
    def is_dense(self) -> bool:
        """Whether each code takes one line."""
        return len(self.codes) > BLOCKS_SHOWN

    @property
    def why_none(self) -> str:
        """Why none of its codes can be resent."""
        return self.codes[0].why_not_resend if self.codes else ""

    @property
    def sender(self) -> str:
        """Who sends the license if the source does it itself."""
        return next((kind.sender for kind in SOURCES.values() if kind.sender), "vendor")

    @property
    def first_unit(self) -> int:
        return self.units.start

    @property
    def last_unit(self) -> int:
        return min(self.item.units, self.units.stop - 1)

    @property
    def previous(self) -> int | None:
        return max(1, self.units.start - len(self.units)) if self.units.start > 1 else None

    @property
    def next(self) -> int | None:
        return self.units.stop if self.units.stop <= self.item.units else None

    @cached_property
    def wait(self) -> PredecessorMissing | None:
        """The missing predecessor that a renewal waits for, if any."""
        waiting = self.item.fulfillment.status == Fulfillment.Status.WAITING and self.item.subscription_id
        with in_english():
            missing = find_wait(self.item, self.known_orders) if waiting else None
        return missing if missing and str(missing) == self.item.fulfillment.reason else None

    @property
    def period(self) -> str:
        """The renewal period in words, such as “every 3 months”."""
        number, unit = split_period(self.item.subscription.period)  # type: ignore[union-attr]
        return EVERY[unit] % {"count": number}

    @property
    def can_be_retried(self) -> bool:
        unfinished = self.item.fulfillment.status != Fulfillment.Status.DONE
        # While a code is held, we don't ask the source.
        return unfinished and not self.held and self.item.order.status == Order.Status.PAID


def show_subscription_orders(desk: Desk, known_orders: list[SubscriptionOrder]) -> list[ShownOrder]:
    """The orders of an item's subscription. If there are many: the first and those around the current one."""
    if not known_orders:
        return []
    own = next(index for index, known in enumerate(known_orders) if known.item.order_id == desk.order.pk)
    start = max(0, min(own - ORDERS_SHOWN // 2, len(known_orders) - ORDERS_SHOWN))
    numbers = {known.number for known in known_orders}
    shown = []
    if known_orders[0].parent_order and known_orders[0].parent_order not in numbers:
        shown.append(ShownOrder(known_orders[0].parent_order, note=gettext("not reported")))
    for index, known in enumerate(known_orders):
        if index == 0 or start <= index < start + ORDERS_SHOWN:
            order = known.item.order
            notes = [gettext("first")] if index == 0 and not known.parent_order else []
            notes += [gettext(order.status)] if order.status != Order.Status.PAID else []
            url = "" if index == own else desk.url_of_order(order)
            shown.append(ShownOrder(known.number, url, ", ".join(notes)))
        elif index in {1, start + ORDERS_SHOWN}:
            shown.append(ShownOrder(omitted=start - 1 if index == 1 else len(known_orders) - index))
    return shown


def with_licensees(codes: QuerySet[ActivationCode], merchant: int) -> QuerySet[ActivationCode]:
    """Annotate each code with the licensee whose number it is, and the licensees its licenses were transferred to."""
    licensees = Licensee.objects.filter(merchant=merchant, fingerprint=OuterRef("fingerprint"))
    transfers = Transaction.objects.filter(
        source=Transaction.Source.AUTO_LICENSES_TRANSFER,
        licensee__isnull=False,
        source_licensee__merchant=merchant,
        source_licensee__fingerprint=OuterRef("fingerprint"),
    )
    return codes.annotate(
        licensee=Subquery(licensees.values(facts=JSONObject(pk="pk", name="name"))),
        transferred_to=ArraySubquery(
            transfers.order_by("pk").values(facts=JSONObject(pk="licensee__pk", name="licensee__name"))
        ),
    )


def show_licensee(desk: Desk, code) -> ShownLicensee | None:
    if not (code.licensee and SOURCES[code.source].gives_licensees):
        return None
    transferred_to = {target["pk"]: _show_licensee(desk, target) for target in code.transferred_to}
    return _show_licensee(desk, code.licensee, transferred_to=list(transferred_to.values()))


def _show_licensee(desk: Desk, facts: dict[str, Any], **fields: Any) -> ShownLicensee:
    licensee = Licensee(**facts)
    return ShownLicensee(str(licensee), desk.url_of_licensee(licensee), **fields)


def find_traces(desk: Desk, codes: list[ActivationCode]) -> dict[int, list[Link]]:
    """Links to where each code came from, by its primary key."""
    by_source = defaultdict(list)
    for code in codes:
        by_source[code.source].append(code)
    return {
        pk: [Link(each.text, desk.url_of_place(each.row, *each.arguments, name=each.page)) for each in traces]
        for source, own in by_source.items()
        for pk, traces in SOURCES[source].trace(own).items()
    }


def show_held(items: list[OrderItem]) -> dict[int, list[ShownHeld]]:
    """The held codes by item, without those of units that have a code by now."""
    shown = defaultdict(list)
    if any(item.has_held_codes for item in items):  # type: ignore[attr-defined]
        has_code = ActivationCode.objects.filter(item=OuterRef("item"), unit=OuterRef("unit"))
        for held in HeldCode.objects.filter(~Exists(has_code), item__in=items).order_by("unit")[:ITEMS_SHOWN]:
            shown[held.item_id].append(ShownHeld(held, mask_answer(held.code, [])))
    return shown


def show_items(desk: Desk, items: list[OrderItem], first_unit: int, revealed: dict[int, str]) -> list[ShownItem]:
    """Show the items with their units, from `first_unit` on. Items that fit on the page show all units."""
    order = desk.order
    known_orders = subscription_orders_by_item(items)
    count = units_shown(len(order.items.all()))
    window = range(first_unit, first_unit + count)
    in_window = Q(unit__gte=window.start, unit__lt=window.stop) | Q(item__units__lte=count)
    mails = DeliveredCode.objects.filter(code=OuterRef("pk")).order_by("delivery_id").values("delivery_id")
    shown = ActivationCode.objects.filter(in_window, item__in=items).defer("code").annotate(mails=ArraySubquery(mails))
    shown = shown.annotate(
        **{name: value for kind in SOURCES.values() for name, value in kind.trace_annotations().items()}
    )
    codes: list[Any] = list(with_licensees(shown, order.merchant_id).order_by("unit"))
    quarantined = LicenseKey.objects.filter(item__in=items, withdrawn_because=LicenseKey.WithdrawalReason.REFUNDED)
    in_quarantine = set() if order.status == Order.Status.PAID else set(quarantined.values_list("item", "unit"))
    seen = {event.code_id for event in order.events.all() if event.kind == OrderEvent.Kind.CODE_REVEALED}
    deliveries = {delivery.pk: delivery for delivery in order.deliveries.all()}

    traces = find_traces(desk, codes)
    held = show_held(items) if order.status == Order.Status.PAID else {}
    reason = why_not_resend(order, saved=True)
    blocks = defaultdict(list)
    for code in codes:
        sent = [deliveries[pk] for pk in code.mails]
        blocks[code.item_id].append(
            ShownCode(
                code,
                sent,
                revealed.get(code.pk, ""),
                reason,
                can_be_replaced=SOURCES[code.source].replaces and order.status == Order.Status.PAID,
                can_return=(code.item_id, code.unit) in in_quarantine
                and not why_not_return(code, sent, revealed=code.pk in seen),
                licensee=show_licensee(desk, code),
                traces=traces.get(code.pk, []),
            )
        )
    return [
        ShownItem(
            item,
            show_subscription_orders(desk, known_orders.get(item.pk, [])),
            blocks[item.pk],
            missing=0 if item.fulfillment.sent_by_vendor else item.units - item.code_count,  # type: ignore[attr-defined]
            why_not_resend=why_not_resend(order, saved=False),
            resends_all=item.code_count > 1 and not reason,  # type: ignore[attr-defined]
            units=window if item.units > count else range(1, count + 1),
            has_reserve=item.has_reserve,  # type: ignore[attr-defined]
            known_orders=known_orders.get(item.pk, []),
            held=held.get(item.pk, []),
        )
        for item in items
    ]
