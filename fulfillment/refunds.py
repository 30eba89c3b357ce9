"""What a full refund, and its undoing, mean for an order's keys, licenses and e-mails."""

from django.db.models import F
from django.db.models.functions import Now

from delivery.models import Delivery
from fulfillment.engine import top_up_at_once, wake_renewals
from fulfillment.models import Fulfillment
from orders.kinds import SOURCES
from orders.models import Order
from pools.ledger import moved_by
from pools.models import LicenseKey


def stop(order: Order, *, actor: str) -> None:
    """End the work on an order that is no longer paid, in the transaction that changes it.

    Its keys are in quarantine from then on: withdrawn, for the customer may have them. Its licenses are deactivated.
    """
    unfinished = Fulfillment.objects.filter(item__order=order).unfinished()
    unfinished.update(due_at=None, reason=f"The order is {order.status}.")
    for item in order.items.exclude(subscription=None):
        wake_renewals(item)
    for kind in SOURCES.values():
        kind.stop(order)
    with moved_by(actor):
        keys = LicenseKey.objects.issued().filter(item__order=order)
        keys.update(withdrawn_at=Now(), withdrawn_because=LicenseKey.WithdrawalReason.REFUNDED)


def restart(order: Order, *, actor: str) -> None:
    """Resume the work on an order that is paid again, in the transaction that changes it.

    Keys leave quarantine. A unit whose key went back to stock gets another one, like any unit without a code. Licenses
    are activated again, and e-mails that the refund stopped are sent.
    """
    with moved_by(actor):
        keys = LicenseKey.objects.filter(item__order=order, withdrawn_because=LicenseKey.WithdrawalReason.REFUNDED)
        keys.update(withdrawn_at=None, withdrawn_because=LicenseKey.WithdrawalReason.MERCHANT)
    for kind in SOURCES.values():
        kind.restart(order)
    stopped = order.deliveries.filter(status=Delivery.Status.CANCELED, reason=f"The order is {Order.Status.DELETED}.")
    for delivery in stopped:
        # One attempt more: a worker that still holds the canceled one can no longer change it.
        revived = {"status": Delivery.Status.QUEUED, "reason": "", "due_at": Now(), "ended_at": None}
        Delivery.objects.filter(pk=delivery.pk).update(**revived, attempts=F("attempts") + 1)
        delivery.nudge()
    for item in order.items.select_related("fulfillment"):
        if item.missing_units() and not item.fulfillment.sent_by_vendor:
            Fulfillment.objects.filter(pk=item.fulfillment.pk).start_again()
            top_up_at_once(Fulfillment.objects.get(pk=item.fulfillment.pk))
        wake_renewals(item)
