"""Orders that are held back while somebody checks them for fraud."""

from datetime import UTC, datetime

from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext

from fulfillment.models import Fulfillment
from orders.models import Order, OrderEvent
from work.refusals import Refused

# The end of a hold that only a person or the shop ends.
UNTIL_APPROVED = datetime(9999, 1, 1, tzinfo=UTC)


class NotHeld(Refused):
    code = "not_held"

    def __init__(self) -> None:
        super().__init__(gettext("The order isn’t held back."))


@transaction.atomic
def approve(order: Order, *, actor: str) -> None:
    """End the hold of an order, so that it gets its codes. Raises NotHeld."""
    # Serializes with refunds and with saving codes.
    held = Order.objects.filter(pk=order.pk, held_until__gt=Now()).select_for_update(no_key=True)
    if not held or not Order.objects.filter(pk=order.pk).update(held_until=None):
        raise NotHeld
    order.held_until = None
    OrderEvent.objects.create(order=order, kind=OrderEvent.Kind.APPROVED, happened_by=actor)
    if order.status == Order.Status.PAID:
        waiting = Fulfillment.objects.filter(item__order=order).unfinished()
        waiting.start_again()
        for fulfillment in waiting:
            fulfillment.nudge()
