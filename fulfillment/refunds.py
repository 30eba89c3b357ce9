"""Effects of a full refund, and of undoing it, on an order's keys, licenses and e-mails."""

from django.db.models import F
from django.db.models.functions import Now

from delivery.models import Delivery
from fulfillment.engine import top_up_at_once, wake_renewals
from fulfillment.models import Fulfillment
from orders.kinds import SOURCES
from orders.models import Order, OrderItem
from pools.ledger import moved_by
from pools.models import LicenseKey


def stop(order: Order, *, actor: str) -> None:
    """Stop work on an order that is no longer paid, in the transaction that changes its status.

    Its keys go into quarantine (withdrawn, since the customer may have them) and its licenses are deactivated.
    """
    unfinished = Fulfillment.objects.filter(item__order=order).unfinished()
    unfinished.update(due_at=None, reason=f"The order is {order.status}.")
    wake_renewals(*order.items.all())
    for kind in SOURCES.values():
        kind.stop(order)
    with moved_by(actor):
        keys = LicenseKey.objects.issued().filter(item__order=order)
        keys.update(withdrawn_at=Now(), withdrawn_because=LicenseKey.WithdrawalReason.REFUNDED)


def restart(order: Order, *, actor: str) -> None:
    """Resume work on an order that is paid again, in the transaction that changes its status.

    Keys leave quarantine, licenses are reactivated, and e-mails that the refund canceled are sent. A unit whose key
    was returned to stock gets another one.
    """
    with moved_by(actor):
        keys = LicenseKey.objects.filter(item__order=order, withdrawn_because=LicenseKey.WithdrawalReason.REFUNDED)
        keys.update(withdrawn_at=None, withdrawn_because=LicenseKey.WithdrawalReason.MERCHANT)
    for kind in SOURCES.values():
        kind.restart(order)
    stopped = order.deliveries.filter(status=Delivery.Status.CANCELED, reason=f"The order is {Order.Status.DELETED}.")
    for delivery in stopped:
        # Counting an attempt ends the lease of a worker that still has the canceled delivery.
        revived = {"status": Delivery.Status.QUEUED, "reason": "", "due_at": Now(), "ended_at": None}
        Delivery.objects.filter(pk=delivery.pk).update(**revived, attempts=F("attempts") + 1)
        delivery.nudge()
    items = list(order.items.select_related("fulfillment").order_by("pk"))
    missing = OrderItem.find_missing_units(items)
    short = [item.fulfillment for item in items if missing[item.pk] and not item.fulfillment.sent_by_vendor]
    if pks := [fulfillment.pk for fulfillment in short]:
        Fulfillment.objects.filter(pk__in=pks).start_again()
        top_up_at_once(pks)
    wake_renewals(*items)
