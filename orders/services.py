import secrets
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext

from orders.localization import show_money
from orders.models import ActivationCode, Order, OrderEvent, Refund
from orders.signals import order_refunded, order_reinstated
from vault.fingerprints import fingerprint
from work.refusals import Refused


class CodeWithdrawn(Refused):
    code = "code_withdrawn"

    def __init__(self) -> None:
        super().__init__(gettext("This activation code is no longer valid: it was replaced or returned to stock."))


class RefundRefused(Refused):
    code = "refund_refused"


class ReinstateRefused(Refused):
    code = "reinstate_refused"


class OrderClosed(Refused):
    code = "order_closed"


def in_utc(moment: datetime | None) -> datetime | None:
    # PostgreSQL doesn't accept every offset.
    return moment and moment.astimezone(UTC)


def new_link() -> dict[str, Any]:
    token = secrets.token_urlsafe(24)
    return {"link_token": token, "link_fingerprint": fingerprint(token)}


def refund(
    order: Order, *, amount: Decimal | None = None, reference: str = "", actor: str, expected: Decimal | None = None
) -> Order:
    """Record a refund of the given amount, or of everything that is left. Return the updated order.

    When nothing is left, the order becomes `deleted`. A refund with a known reference isn't recorded again. Raises
    RefundRefused if the order isn't paid, less than `amount` is left, or the remaining amount isn't `expected`.
    """
    with transaction.atomic():
        # Serializes refunds of one order with each other and with codes being saved in it.
        order = Order.objects.select_for_update(no_key=True).get(pk=order.pk)
        known = order.refunds.filter(reference=reference).first() if reference else None
        if known and amount is not None and known.amount != amount:
            raise RefundRefused(
                gettext("Refund {reference} is already recorded with {amount}.").format(
                    reference=reference, amount=show_money(known.amount, order.currency)
                )
            )
        if known:
            return order
        if order.status == Order.Status.DELETED and amount is None:
            return order
        if order.status != Order.Status.PAID:
            raise RefundRefused(gettext("The order is {status}, not paid.").format(status=gettext(order.status)))

        left = order.left_to_refund()
        if expected is not None and left != expected:
            raise RefundRefused(
                gettext("Another refund was just recorded, and {left} are left. Check the amount again.").format(
                    left=show_money(left, order.currency)
                )
            )
        if amount is not None and amount > left:
            raise RefundRefused(
                gettext("Only {left} are left to refund.").format(left=show_money(left, order.currency))
            )

        Refund.objects.create(
            order=order, amount=left if amount is None else amount, reference=reference, refunded_by=actor
        )
        if amount is None or amount == left:
            order.status, order.ended_at = Order.Status.DELETED, Now()
            order.save(update_fields=["status", "ended_at"])
            order.refresh_from_db(fields=["ended_at"])
            order_refunded.send(Order, order=order, actor=actor)
    return order


@transaction.atomic
def reinstate(order: Order, *, actor: str) -> Order:
    """Undo an order's full refund, so that it is paid again. Return the updated order.

    Earlier partial refunds stay. Raises ReinstateRefused if the order wasn't refunded in full.
    """
    # Serializes with refunds, with returning keys to stock, and with saving codes.
    order = Order.objects.select_for_update(no_key=True).get(pk=order.pk)
    last = order.refunds.filter(undone_at=None).order_by("pk").last()
    if order.status != Order.Status.DELETED or last is None:
        raise ReinstateRefused(
            gettext("The order is {status}. You can only undo a full refund.").format(status=gettext(order.status))
        )

    Refund.objects.filter(pk=last.pk).update(undone_at=Now(), undone_by=actor)
    order.status, order.ended_at = Order.Status.PAID, None
    order.save(update_fields=["status", "ended_at"])
    OrderEvent.objects.create(order=order, kind=OrderEvent.Kind.REINSTATED, happened_by=actor)
    order_reinstated.send(Order, order=order, actor=actor)
    return order


@transaction.atomic
def undo_refund(order: Order, moment: datetime, actor: str) -> None:
    """Undo a full refund because the shop reports that it did so at this moment, once per moment.

    So a late repetition of the report doesn't undo a newer refund.
    """
    # A stored moment in the future was a mistake, so the correct one may be earlier.
    is_later = Q(reinstated_at__lt=in_utc(moment)) | Q(reinstated_at__gt=Now()) & ~Q(reinstated_at=in_utc(moment))
    new = Q(reinstated_at=None) | is_later
    if Order.objects.filter(new, pk=order.pk).update(reinstated_at=in_utc(moment)):
        with suppress(ReinstateRefused):  # already undone by a person, or never refunded here
            reinstate(order, actor=actor)
    order.refresh_from_db(fields=["status", "ended_at", "reinstated_at"])


@transaction.atomic
def correct_email(order: Order, email: str, *, actor: str) -> bool:
    """Correct the customer's e-mail address; return whether it changed.

    All later e-mails go to the new address, including those that are already queued.
    """
    # Serializes corrections with resends, so that a resend goes to the address that the page showed.
    before = Order.objects.select_for_update(no_key=True).values_list("email", flat=True).get(pk=order.pk)
    order.email = email
    if before == email:
        return False

    order.save(update_fields=["email"])
    details, kind = {"before": before, "after": email}, OrderEvent.Kind.ADDRESS_CORRECTED
    OrderEvent.objects.create(order=order, kind=kind, details=details, happened_by=actor)
    return True


@transaction.atomic
def show_to_customer(order: Order, first: int, count: int) -> list[ActivationCode]:
    """Return `count` of the order's codes, starting at `first`, and record that the customer has seen them.

    Raises OrderClosed if the order is no longer paid, the customer's link has changed, or the checkout page doesn't
    allow delivery.
    """
    # Serializes with refunds and changes of the link, after which no code may be shown.
    still_open = Order.objects.filter(
        pk=order.pk, status=Order.Status.PAID, link_fingerprint=order.link_fingerprint
    ).select_for_update(no_key=True)
    if not (still_open and order.checkout_page.delivery_allowed):
        raise OrderClosed
    codes = list(order.codes()[first - 1 :][:count])
    ActivationCode.objects.filter(pk__in=[code.pk for code in codes], seen_at=None).update(seen_at=Now())
    return codes


@transaction.atomic
def reveal(code: ActivationCode, *, actor: str) -> str:
    """Return a code's text and record who saw it. Raises CodeWithdrawn if it is no longer valid."""
    # Serializes with returning the key to stock, which requires that nobody has seen it.
    Order.objects.select_for_update(no_key=True).get(pk=code.item.order_id)
    code.refresh_from_db(fields=["withdrawn_at"], from_queryset=ActivationCode.all_codes.all())
    if code.withdrawn_at:
        raise CodeWithdrawn
    OrderEvent.objects.create(
        order_id=code.item.order_id, kind=OrderEvent.Kind.CODE_REVEALED, code=code, happened_by=actor
    )
    return str(code.code)


def revoke_link(order: Order, *, actor: str) -> bool:
    """Disable the link to the customer's order page; return whether there was one."""
    return _change_link(order, {"link_token": None, "link_fingerprint": None}, OrderEvent.Kind.LINK_REVOKED, actor)


def renew_link(order: Order, *, actor: str) -> None:
    """Create a new link to the customer's order page. The old link stops working immediately."""
    _change_link(order, new_link(), OrderEvent.Kind.LINK_RENEWED, actor)


@transaction.atomic
def _change_link(order: Order, link: dict[str, Any], kind: OrderEvent.Kind, actor: str) -> bool:
    # Serializes with other changes of the link, and with showing codes to the customer.
    order.refresh_from_db(fields=list(link), from_queryset=Order.objects.select_for_update(no_key=True))
    if not (order.link_token or link["link_token"]):
        return False

    order.link_token, order.link_fingerprint = link["link_token"], link["link_fingerprint"]
    order.save(update_fields=list(link))
    OrderEvent.objects.create(order=order, kind=kind, happened_by=actor)
    return True
