"""Answers a request for a license: processes its event at once, and returns the codes of its order."""

from django.db import transaction
from django.db.models.functions import Now
from django.http import HttpResponse
from django.utils.translation import gettext

from orders.models import ActivationCode, Order, OrderItem
from shops.kinds.answering import Answering
from shops.kinds.base import Received
from shops.models import Event
from shops.processing import process


class NoLicense(Exception):
    """There are no codes, or not all of them. The message is for the shop."""


def answer(kind: Answering, received: Received) -> HttpResponse:
    """Process a stored event unless that was done or a worker has it, and answer with the codes of its order."""
    events = Event.objects.filter(connection=kind.connection, key=received.stored_key)
    process(events.get().pk)
    try:
        return kind.write(hand_over(events.select_related("order").get()))
    except NoLicense as reason:
        return kind.write_error(str(reason))


@transaction.atomic
def hand_over(event: Event) -> list[str]:
    """Return all codes of the event's order, and record that the customer sees them. Raises NoLicense."""
    if event.order is None:
        raise NoLicense(event.reason or gettext("The sale is being processed."))
    # Serializes with refunds, after which no code may be shown.
    order = Order.objects.select_for_update(no_key=True).get(pk=event.order.pk)
    if order.status != Order.Status.PAID:
        raise NoLicense(gettext("The order was refunded."))
    missing = OrderItem.find_missing_units(order.items.all())
    if not missing or any(missing.values()):
        raise NoLicense(gettext("The license isn’t ready yet."))
    codes = list(order.codes())
    ActivationCode.objects.filter(item__order=order, seen_at=None).update(seen_at=Now())
    return [str(code.code) for code in codes]
