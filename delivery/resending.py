"""E-mails with activation codes: queued as codes are saved, and again when somebody asks. A worker sends them."""

from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from delivery.models import DeliveredCode, Delivery
from orders.models import ActivationCode, Order, OrderItem
from outbound.mail import make_message_id
from work.refusals import Refused

# Two clicks send one e-mail: within this time the same codes are not sent again.
RESEND_PAUSE = timedelta(seconds=60)

# How the customer, without signing in, is called in the history; and how many mails of an order they may ask for.
CUSTOMER = "the customer"
CUSTOMERS_MAILS = ((3, timedelta(hours=1)), (10, timedelta(days=1)))


class ResendRefused(Refused):
    code = "resend_refused"


class TooManyMails(Refused):
    """The customer had codes sent again as often as may be, and has to wait."""

    code = "too_many_mails"

    def __init__(self, wait: timedelta):
        super().__init__(f"Try again in {wait}.")
        self.wait = wait


def queue_delivery(order: Order, codes: list[ActivationCode]) -> None:
    """Have new codes e-mailed. The caller holds the order's lock."""
    if not order.checkout_page.delivery_allowed:
        return

    # A mail that no worker has taken yet can hold these, too. The lock keeps a worker from taking it just now.
    untaken = order.deliveries.filter(kind=Delivery.Kind.AUTOMATIC, status=Delivery.Status.QUEUED, attempts=0)
    delivery = untaken.select_for_update().first()
    if delivery is None:
        delivery = _create_delivery(order, Delivery.Kind.AUTOMATIC)
    _add_codes(delivery, codes)


def why_not_resend(order: Order, *, saved: bool) -> str:
    """Which of the three rules forbids sending a code of the order again, saved or not; empty if none does."""
    if order.status != Order.Status.PAID:
        return f"The order is {order.status}, not paid."
    if not order.checkout_page.delivery_allowed:
        return f"Delivery is not allowed for the checkout page “{order.checkout_page}”; support can change that."
    if not order.email:
        return "The customer’s data was erased; there is no address."
    if not saved:
        return "No activation code is saved in the order yet."
    return ""


@transaction.atomic
def resend(item: OrderItem, code: ActivationCode | None = None, *, actor: str) -> tuple[Delivery, bool]:
    """Have one code of the item, or all, e-mailed again to the customer's present address.

    Return the delivery, and whether it is new: asked again at once it is the same. Raises ResendRefused with the rule
    that forbids it.
    """
    # Serializes the second click with the first, and both with a refund.
    order = item.order = Order.objects.select_for_update(no_key=True).get(pk=item.order_id)
    codes = [code] if code else list(item.activation_codes.defer("code"))
    if reason := why_not_resend(order, saved=bool(codes)):
        raise ResendRefused(reason)
    if delivery := _under_way(order, codes):
        return delivery, False

    delivery = _create_delivery(order, Delivery.Kind.RESEND, actor=actor)
    _add_codes(delivery, codes)
    return delivery, True


@transaction.atomic
def send_again(order: Order) -> tuple[Delivery, bool]:
    """Have all codes of an order e-mailed again, as its customer asks who holds the link.

    Return the delivery, and whether it is new. Raises ResendRefused with the rule that forbids it, and TooManyMails.
    """
    # Serializes the mails that are counted, and all of them with a refund.
    order = Order.objects.select_for_update(no_key=True).get(pk=order.pk)
    codes = list(order.codes().defer("code"))
    if reason := why_not_resend(order, saved=bool(codes)):
        raise ResendRefused(reason)
    if delivery := _under_way(order, codes):
        return delivery, False
    if wait := _customer_waits(order):
        raise TooManyMails(wait)

    delivery = _create_delivery(order, Delivery.Kind.RESEND, actor=CUSTOMER)
    _add_codes(delivery, codes)
    return delivery, True


def _customer_waits(order: Order) -> timedelta:
    """How long until the customer may have the next mail sent."""
    mails = order.deliveries.filter(requested_by=CUSTOMER).order_by("-created_at")
    ages = list(mails.annotate(age=Now() - F("created_at")).values_list("age", flat=True)[: CUSTOMERS_MAILS[-1][0]])
    waits = [period - ages[count - 1] for count, period in CUSTOMERS_MAILS if len(ages) >= count]
    return max([timedelta(0), *waits])


def _under_way(order: Order, codes: list[ActivationCode]) -> Delivery | None:
    """A mail that brings the customer these codes at this moment."""
    wanted = {code.pk for code in codes}
    just_resent = Q(kind=Delivery.Kind.RESEND, status__in=Delivery.GONE_WELL, created_at__gt=Now() - RESEND_PAUSE)
    # One that a worker has in its hands may be going to an address that was wrong; one that none took yet will not.
    under_way = Q(status=Delivery.Status.QUEUED)
    here = Q(recipient=order.email)
    for delivery in order.deliveries.filter((just_resent & here) | (under_way & (here | Q(attempts=0)))):
        if wanted <= set(delivery.codes.values_list("pk", flat=True)):
            return delivery
    return None


def _create_delivery(order: Order, kind: Delivery.Kind, actor: str = "") -> Delivery:
    delivery = Delivery.objects.create(
        order=order, kind=kind, recipient=order.email, message_id=make_message_id(), requested_by=actor
    )
    delivery.nudge()
    return delivery


def _add_codes(delivery: Delivery, codes: Iterable[ActivationCode]) -> None:
    automatic = delivery.kind == Delivery.Kind.AUTOMATIC
    DeliveredCode.objects.bulk_create(
        DeliveredCode(delivery=delivery, code=code, automatic=automatic) for code in codes
    )
