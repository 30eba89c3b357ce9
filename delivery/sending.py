"""The customer's e-mail: composed (delivery/composition.py), sent, and noted as sent."""

import logging
from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now

from delivery import tracking
from delivery.composition import compose
from delivery.delivery_notices import DeliveryFailed, MailServerRefused
from delivery.events import announce_bounce, facts_of_delivery
from delivery.models import Delivery
from notices.sending import tell
from orders.models import Order, OrderEvent
from outbound.mail import MailError, sent
from outbound.models import MailAccount
from webhooks.models import WebhookEvent
from webhooks.sending import announce

logger = logging.getLogger(__name__)

# A merchant's mail server that cannot be reached is left alone for so long, whatever else there is for it.
PAUSE_IF_UNREACHABLE = timedelta(minutes=1)


def deliver(pk: int) -> None:
    """Make one attempt at a delivery that is due.

    Between the mail server's answer and the commit of `end` lies the one window in which a crash makes the customer
    get a mail twice (docs/decisions/0003-at-least-once-mail.md). Nothing else may stand between the two.
    """
    delivery = Delivery.objects.claim(pk)
    if delivery is None:
        return
    if reason := _why_not(delivery):
        delivery.end(status=Delivery.Status.CANCELED, reason=reason)
        return

    delivery.readdress()
    facts = facts_of_delivery(delivery)
    account = None
    try:
        account = MailAccount.objects.of(delivery.order.merchant_id)
        with sent(compose(delivery), account) as message_id, transaction.atomic():
            if delivery.end(status=Delivery.Status.SENT, reason="", sent_at=Now(), message_id=message_id[:255]):
                announce(delivery.order.merchant, WebhookEvent.PRODUCT_DELIVERED, *facts)
    except MailError as error:
        _note_failure(delivery, error)
        if account and error.not_let_in:
            _note_refusal(account, str(error))
        if account and error.unreachable:
            others = Delivery.objects.due().filter(order__merchant=account.merchant_id)
            others.update(due_at=Now() + PAUSE_IF_UNREACHABLE)
    except Exception:
        logger.exception("%s will be tried again", delivery)
        _note_failure(delivery, MailError("Something failed on our side; the log says what."))
    else:
        tracking.match(delivery)
        if account:
            account.note_success()


def _why_not(delivery: Delivery) -> str:
    order = delivery.order
    if order.status != Order.Status.PAID:
        return f"The order is {order.status}."
    if not order.checkout_page.delivery_allowed:
        return f"Delivery is not allowed for the checkout page “{order.checkout_page}”."
    if not order.email:
        return "The customer’s data was erased."
    if not delivery.codes.exists():
        return "What it was to bring was replaced by another license."
    return ""


def _note_failure(delivery: Delivery, error: MailError) -> None:
    if not (error.permanent or delivery.is_last_attempt):
        with transaction.atomic():
            if delivery.postpone(str(error), at_least=error.pause) and error.perhaps_taken:
                kind = OrderEvent.Kind.MAY_HAVE_ARRIVED
                OrderEvent.objects.create(order=delivery.order, kind=kind, happened_by="the mail server")
        return
    with transaction.atomic():
        if delivery.end(status=Delivery.Status.FAILED, reason=str(error)[:500]):
            tell(DeliveryFailed, delivery.order.merchant, delivery)
            if error.permanent:
                announce_bounce(delivery)


def _note_refusal(account: MailAccount, reason: str) -> None:
    """Tell the merchant that its mail server lets us in no longer; once, not with every mail."""
    with transaction.atomic():
        if account.note_refusal(reason):
            tell(MailServerRefused, account.merchant)
