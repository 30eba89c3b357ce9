"""Sends e-mails to customers and records the result."""

from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext

from delivery import tracking
from delivery.composition import compose_delivery
from delivery.delivery_notices import DeliveryFailed, MailServerRefused
from delivery.events import delivery_payload, emit_bounce
from delivery.models import Delivery
from notices.sending import notify
from orders.models import Order, OrderEvent
from outbound.mail import MailError, send_email
from outbound.models import MailAccount
from webhooks.models import WebhookEvent
from webhooks.sending import emit
from work.attempts import Policy

# Pause between attempts while a merchant's mail server is unreachable, for all of its e-mails.
UNREACHABLE_PAUSE = timedelta(minutes=1)


class DeliveryPolicy(Policy[Delivery]):
    model = Delivery

    def attempt(self, delivery):
        """Send the e-mail.

        A crash between the mail server's response and the commit of `end` sends the e-mail twice
        (docs/decisions/0003-at-least-once-mail.md). Keep anything else out of that window.
        """
        if reason := _explain_refusal(delivery):
            delivery.end(status=Delivery.Status.CANCELED, reason=reason)
            return
        delivery.readdress()
        payloads = delivery_payload(delivery)
        account = MailAccount.objects.for_merchant(delivery.order.merchant_id)
        try:
            with send_email(compose_delivery(delivery), account) as message_id, transaction.atomic():
                if delivery.end(status=Delivery.Status.SENT, reason="", sent_at=Now(), message_id=message_id[:255]):
                    emit(delivery.order.merchant, WebhookEvent.PRODUCT_DELIVERED, *payloads)
        except MailError as error:
            if account:
                _record_mail_error(account, error)
            raise
        tracking.match(delivery)
        if account:
            account.note_success()

    @transaction.atomic
    def put_off(self, delivery, failure):
        if delivery.postpone(str(failure), at_least=failure.pause) and getattr(failure, "may_have_arrived", False):
            kind = OrderEvent.Kind.MAY_HAVE_ARRIVED
            OrderEvent.objects.create(order=delivery.order, kind=kind, happened_by="the mail server")

    @transaction.atomic
    def give_up(self, delivery, failure):
        if delivery.end(status=Delivery.Status.FAILED, reason=str(failure)[:500]):
            notify(DeliveryFailed, delivery.order.merchant, delivery)
            if failure.permanent:
                emit_bounce(delivery)


deliver = DeliveryPolicy().run


def _explain_refusal(delivery: Delivery) -> str:
    order = delivery.order
    if order.status != Order.Status.PAID:
        return gettext("The order is {status}.").format(status=order.status)
    if not order.checkout_page.delivery_allowed:
        return gettext("Delivery isn’t allowed for the checkout page “{checkout_page}”.").format(
            checkout_page=order.checkout_page
        )
    if not order.email:
        return gettext("The customer’s data was erased.")
    if not delivery.codes.exists():
        return gettext("Its license was replaced by another one.")
    return ""


@transaction.atomic
def _record_mail_error(account: MailAccount, error: MailError) -> None:
    """Notify the merchant once if its mail server rejects the login. Pause an unreachable server."""
    if error.login_rejected and account.note_refusal(str(error)):
        notify(MailServerRefused, account.merchant)
    if error.unreachable:
        others = Delivery.objects.due().filter(order__merchant=account.merchant_id)
        others.update(due_at=Now() + UNREACHABLE_PAUSE)
