"""A customer's personal data, found by e-mail address: exported and erased on request (GDPR, articles 15 and 17).

The address matches in upper and lower case. Erasing keeps what accounting needs (number, dates, prices, country and
licenses of an order) and removes who the customer was.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.utils.translation import gettext

from delivery.models import Delivery, LinkRequest, TrackingEvent
from fulfillment.models import HeldCode
from merchants.addresses import same_address, to_ascii_domain
from merchants.models import Merchant
from orders.models import ActivationCode, Order, OrderEvent, OrderItem
from outbound.models import OutgoingRequest

NAMES = ["email", "first_name", "last_name", "company"]
ERASED = "The customer’s data was erased."


class NotAnAddress(Exception):
    """The text is not an e-mail address. An empty one would match every customer whose data was erased."""


def describe_counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items()) or gettext("nothing")


class Holder:
    """Personal data that another app holds. It adds its class to HOLDERS."""

    name = ""

    def __init__(self, email: str, merchants: Sequence[Merchant], orders: QuerySet[Order]) -> None:
        """`merchants` is empty for all."""

    def count(self) -> int:
        raise NotImplementedError

    def export(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def erase(self) -> None:
        raise NotImplementedError


HOLDERS: list[type[Holder]] = []


class PersonalData:
    """The data about an address, at one merchant or, without `merchant`, at all of them."""

    def __init__(self, email: str, merchant: Merchant | None = None) -> None:
        self.email = email.strip()
        if "@" not in self.email or "\0" in self.email:
            raise NotAnAddress
        own = [merchant, *Merchant.objects.filter(live=merchant)] if merchant else []
        at_merchant = Q(merchant__in=own) if merchant else Q()
        order_at_merchant = Q(order__merchant__in=own) if merchant else Q()
        self.orders = Order.objects.with_email(self.email).filter(at_merchant)
        self.deliveries = Delivery.objects.filter(order_at_merchant, same_address("recipient", self.email))
        self.outgoing_requests = OutgoingRequest.objects.for_orders(self.orders)
        self.link_requests = LinkRequest.objects.filter(at_merchant, same_address("email", self.email))
        self.others = [holder(self.email, own, self.orders) for holder in HOLDERS]
        self.corrections = OrderEvent.objects.filter(
            same_address("details__before", self.email) | same_address("details__after", self.email), order_at_merchant
        )

    def count(self) -> Counter[str]:
        counts = {
            "orders": self.orders.count(),
            "e-mails": self.deliveries.count(),
            "address corrections": self.corrections.count(),
            "requests to servers": self.outgoing_requests.count(),
            "lost link requests": self.link_requests.count(),
            **{holder.name: holder.count() for holder in self.others},
        }
        return Counter({name: count for name, count in counts.items() if count})

    def export(self) -> dict[str, Any]:
        """Return all of it, ready for JSON. Licenses show four characters: full texts never leave encrypted rows."""
        orders = self.orders.select_related("merchant").order_by("pk")
        elsewhere = self.deliveries.exclude(order__in=self.orders).select_related("order").order_by("pk")
        return {
            "address": self.email,
            "orders": [_describe(order) for order in orders],
            "e-mails of other orders": [
                {"order": delivery.order.number} | _describe_delivery(delivery) for delivery in elsewhere
            ],
            # Include only this address: the other one may be another customer's.
            "corrections of addresses": [
                {"order": event.order.number, "at": event.happened_at, "address": self._side(event)}
                for event in self.corrections.select_related("order").order_by("pk")
            ],
            "requests for lost links": list(self.link_requests.order_by("pk").values("created_at", "language")),
            **{holder.name: holder.export() for holder in self.others},
        }

    def _side(self, event: OrderEvent) -> list[str]:
        own = to_ascii_domain(self.email).lower()
        return [side for side, address in event.details.items() if to_ascii_domain(address).lower() == own]

    def erase(self, *, actor: str) -> Counter[str]:
        """Erase the person and return what was affected. Repeating it finds nothing more."""
        erased = self.count()
        # First, because they are found by their orders' addresses.
        for holder in self.others:
            holder.erase()
        for pk in self.orders.values_list("pk", flat=True):
            _erase_order(pk, actor=actor)
        with transaction.atomic():
            # Traces remain in orders whose address was corrected. Their queued e-mails go to the new address.
            queued = self.deliveries.filter(status=Delivery.Status.QUEUED)
            _forget_answers(queued)
            order = Order.objects.filter(pk=OuterRef("order"))
            queued.update(recipient=Subquery(order.values("email")), reason="")
            _forget_recipients(self.deliveries)
            self.corrections.update(details={})
            self.link_requests.delete()
        return erased


@transaction.atomic
def _erase_order(pk: int, *, actor: str) -> None:
    # Serializes with saving codes and with resends: nothing is sent to the address after this.
    order = Order.objects.select_for_update(no_key=True).get(pk=pk)
    order.email = order.first_name = order.last_name = order.company = ""
    order.additional_parameters = {}
    order.link_token = order.link_fingerprint = None
    order.save(update_fields=["additional_parameters", "link_token", "link_fingerprint", *NAMES])
    OutgoingRequest.objects.for_orders([order]).forget()
    # Counting an attempt ends the lease of a worker that is sending it now and would store the server's answer.
    order.deliveries.filter(status=Delivery.Status.QUEUED).update(
        status=Delivery.Status.CANCELED, due_at=None, attempts=F("attempts") + 1
    )
    _forget_recipients(order.deliveries.all())
    # A held code may be an error message that names the customer.
    HeldCode.objects.filter(item__order=order).delete()
    # The reason that a person entered for replacing a code may name the customer.
    written = [OrderEvent.Kind.ADDRESS_CORRECTED, OrderEvent.Kind.REPLACED]
    order.events.filter(kind__in=written).update(details={})
    OrderEvent.objects.create(order=order, kind=OrderEvent.Kind.ERASED, happened_by=actor)


def _forget_recipients(deliveries: QuerySet[Delivery]) -> None:
    _forget_answers(deliveries)
    deliveries.update(recipient="", reason=ERASED)


def _forget_answers(deliveries: QuerySet[Delivery]) -> None:
    TrackingEvent.objects.filter(delivery__in=deliveries).update(reason="")


def _describe(order: Order) -> dict[str, Any]:
    fields = ["number", "status", "reported_at", "paid_at", "currency", "language", "country", *NAMES]
    items = order.items.select_related("product", "subscription")
    return (
        {"merchant": order.merchant.name}
        | {name: getattr(order, name) for name in fields}
        | {
            "additional_parameters": order.additional_parameters,
            "items": [_describe_item(item) for item in items.order_by("pk")],
            "other items": list(order.other_items.order_by("pk").values("product", "quantity", "total_price")),
            "e-mails": [_describe_delivery(delivery) for delivery in order.deliveries.order_by("pk")],
            "requests to servers": list(
                OutgoingRequest.objects.for_orders([order]).order_by("pk").values("called_at", "url", "sent", "answer")
            ),
            "refunds": list(order.refunds.order_by("pk").values("amount", "refunded_at")),
            "history": [
                {"at": event.happened_at, "what": event.get_kind_display(), "details": event.details}
                for event in order.events.order_by("pk")
            ],
        }
    )


def _describe_item(item: OrderItem) -> dict[str, Any]:
    codes = ActivationCode.all_codes.filter(item=item).order_by("unit")
    return {
        "product": item.product.name,
        "quantity": item.quantity,
        "total_price": item.total_price,
        "subscription": item.subscription.reference if item.subscription else None,
        "licenses": list(codes.values("unit", "hint", "saved_at", "seen_at")),
    }


def _describe_delivery(delivery: Delivery) -> dict[str, Any]:
    return {
        name: getattr(delivery, name) for name in ["recipient", "kind", "status", "created_at", "sent_at", "reason"]
    } | {"events": list(delivery.tracking_events.order_by("occurred_at").values("kind", "occurred_at", "reason"))}
