"""Queues e-mails with activation codes, when codes are saved and when somebody resends them. A worker sends them."""

from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext

from delivery.models import DeliveredCode, Delivery
from orders.models import ActivationCode, Order, OrderItem
from orders.services import correct_email
from outbound.mail import make_message_id
from work.refusals import Refused

# Two clicks send one e-mail: the same codes aren't resent within this time.
MIN_RESEND_INTERVAL = timedelta(seconds=60)

# The actor in the history when a customer resends from the order page, and the limits (count, period) per order.
CUSTOMER = "the customer"
CUSTOMER_LIMITS = ((3, timedelta(hours=1)), (10, timedelta(days=1)))


class ResendRefused(Refused):
    code = "resend_refused"


class TooManyMails(Refused):
    """The customer reached a limit and has to wait."""

    code = "too_many_mails"

    def __init__(self, wait: timedelta):
        super().__init__(gettext("Try again in {wait}.").format(wait=wait))
        self.wait = wait


def why_not_resend(order: Order, *, saved: bool) -> str:
    """Explain why the order's codes can't be resent; empty if they can. `saved`: whether there is a saved code."""
    if order.status != Order.Status.PAID:
        return gettext("The order is {status}, not paid.").format(status=gettext(order.status))
    if not order.checkout_page.delivery_allowed:
        return gettext(
            "Delivery isn’t allowed for the checkout page “{checkout_page}”. Ask support to allow it."
        ).format(checkout_page=order.checkout_page)
    if not order.email:
        return gettext("The customer’s data was erased, so there is no address to send to.")
    if not saved:
        return gettext("There are no activation codes yet.")
    return ""


@transaction.atomic
def resend(item: OrderItem, code: ActivationCode | None = None, *, actor: str) -> tuple[Delivery, bool]:
    """Resend one code of the item, or all in one e-mail, to the customer's current address.

    Return the delivery and whether it is new: repeating this at once returns the same one. Raises ResendRefused with
    the reason.
    """
    order = item.order = _lock(item.order_id)
    return _resend(order, [code] if code else list(item.activation_codes.defer("code")), actor=actor)


@transaction.atomic
def resend_all(order: Order, *, actor: str) -> tuple[Delivery, bool]:
    """Resend all codes of an order in one e-mail, like `resend`."""
    order = _lock(order.pk)
    return _resend(order, list(order.codes().defer("code")), actor=actor)


@transaction.atomic
def correct_and_resend(order: Order, email: str, *, actor: str) -> tuple[Delivery, bool]:
    """Correct the customer's address and resend all codes to it. If they can't be resent, the address stays."""
    correct_email(order, email, actor=actor)
    return resend_all(order, actor=actor)


def _lock(order: int) -> Order:
    # Serializes the second click with the first, and both with a refund.
    return Order.objects.select_for_update(no_key=True).get(pk=order)


def _resend(order: Order, codes: list[ActivationCode], *, actor: str) -> tuple[Delivery, bool]:
    if reason := why_not_resend(order, saved=bool(codes)):
        raise ResendRefused(reason)
    if delivery := _under_way(order, codes):
        return delivery, False

    delivery = _create_delivery(order, Delivery.Kind.RESEND, actor=actor)
    _add_codes(delivery, codes)
    return delivery, True


@transaction.atomic
def resend_as_customer(order: Order) -> tuple[Delivery, bool]:
    """Resend all codes of an order, as requested on the customer's order page.

    Return the delivery and whether it is new. Raises ResendRefused with the reason, and TooManyMails.
    """
    order = _lock(order.pk)  # so that the limits hold
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
    """Return how long the customer has to wait before the next resend."""
    mails = order.deliveries.filter(requested_by=CUSTOMER).order_by("-created_at")
    ages = list(mails.annotate(age=Now() - F("created_at")).values_list("age", flat=True)[: CUSTOMER_LIMITS[-1][0]])
    waits = [period - ages[count - 1] for count, period in CUSTOMER_LIMITS if len(ages) >= count]
    return max([timedelta(0), *waits])


def _under_way(order: Order, codes: list[ActivationCode]) -> Delivery | None:
    """Return a queued or recently resent e-mail that contains these codes."""
    wanted = {code.pk for code in codes}
    just_resent = Q(
        kind=Delivery.Kind.RESEND, status__in=Delivery.SUCCESSFUL, created_at__gt=Now() - MIN_RESEND_INTERVAL
    )
    # A claimed delivery may be going to an outdated address. An unclaimed one will use the current address.
    under_way = Q(status=Delivery.Status.QUEUED)
    same_address = Q(recipient=order.email)
    for delivery in order.deliveries.filter(
        (just_resent & same_address) | (under_way & (same_address | Q(attempts=0)))
    ):
        if wanted <= set(delivery.codes.values_list("pk", flat=True)):
            return delivery
    return None


def _create_delivery(order: Order, kind: Delivery.Kind, actor: str = "") -> Delivery:
    delivery = Delivery.objects.create(
        merchant_id=order.merchant_id,
        order=order,
        kind=kind,
        recipient=order.email,
        message_id=make_message_id(),
        requested_by=actor,
    )
    delivery.nudge()
    return delivery


def _add_codes(delivery: Delivery, codes: Iterable[ActivationCode]) -> None:
    automatic = delivery.kind == Delivery.Kind.AUTOMATIC
    DeliveredCode.objects.bulk_create(
        DeliveredCode(delivery=delivery, code=code, automatic=automatic) for code in codes
    )
