import secrets
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext

from merchants.models import Merchant, Product
from orders.content import digest_content, find_differences
from orders.models import ActivationCode, Order, OrderEvent, OrderItem, OtherItem, Refund, Subscription
from orders.signals import order_paid, order_refunded, order_reinstated
from vault.fingerprints import fingerprint
from work.refusals import Refused


class PaymentConflict(Refused):
    """An order with this number exists with other content. `pointers` are JSON pointers to the differing fields."""

    code = "payment_conflict"

    def __init__(self, message: str, pointers: list[str]):
        super().__init__(message)
        detail = "This was first reported with a different value."
        self.errors = [{"pointer": pointer, "detail": detail} for pointer in pointers]


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


def place_order(merchant: Merchant, payment: dict, *, actor: str = "") -> tuple[Order, bool]:
    """Store a reported payment; return its order and whether it is new.

    `payment` is the validated data of a PaymentSerializer. A payment that was reported before, or is being reported in
    a concurrent request, returns the existing order; items whose product exists only now are sold. Raises
    PaymentConflict if the existing order has different content.
    """
    content = digest_content(payment)
    try:
        with transaction.atomic():
            return _create_order(merchant, payment, content, actor), True
    except IntegrityError:
        # The order number is taken: another request was first and has committed.
        order = Order.objects.filter(merchant=merchant, number=payment["order"]).first()
        if order is None:
            raise

    if differing := find_differences(order, payment, content):
        raise PaymentConflict(
            gettext("Order {number} already exists with different content.").format(number=order.number), differing
        )
    if payment.get("reinstated_at"):
        _undo_refund(order, payment["reinstated_at"], actor)
    map_items(order, actor=actor)
    return order, False


def _create_order(merchant: Merchant, payment: dict, content: dict[str, str], actor: str) -> Order:
    order = Order.objects.create(
        merchant=merchant,
        number=payment["order"],
        status=Order.Status.PAID,
        reported_by=actor,
        paid_at=_in_utc(payment["paid_at"]),
        reinstated_at=_in_utc(payment.get("reinstated_at")),
        utc_offset=payment["paid_at"].utcoffset() // timedelta(minutes=1),
        currency=payment["currency"],
        language=payment["language"],
        checkout_page=payment["checkout_page"],
        additional_parameters=payment["additional_parameters"],
        content=content,
        **_new_link(),
        **payment["customer"],
    )
    ours = [item for item in payment["items"] if item["product"]]
    OtherItem.objects.bulk_create(_build_other(order, item) for item in payment["items"] if not item["product"])
    _sell(order, ours)
    return order


def _sell(order: Order, reported: list[dict]) -> None:
    if not reported:
        return
    subscriptions = _get_subscriptions(order, reported)
    items = OrderItem.objects.bulk_create(_build_item(order, item, subscriptions) for item in reported)
    order_paid.send(Order, order=order, items=items)


@transaction.atomic
def map_items(order: Order, *, actor: str) -> int:
    """Sell the items of a paid order that were *not ours* but have a product by now; return their number."""
    if not order.other_items.mappable().exists():
        return 0
    # Serializes with refunds, and with another mapping of the same items.
    order = Order.objects.select_for_update(no_key=True).get(pk=order.pk)
    if order.status != Order.Status.PAID:
        return 0
    others = list(order.other_items.mappable().order_by("pk"))
    products = Product.objects.in_bulk([other.product_id for other in others])
    order.other_items.filter(pk__in=[other.pk for other in others]).delete()
    _sell(order, [other.reported(products[other.product_id]) for other in others])
    if others:
        details = {"items": [other.reference for other in others]}
        OrderEvent.objects.create(order=order, kind=OrderEvent.Kind.MAPPED, details=details, happened_by=actor)
    return len(others)


def _in_utc(moment: datetime | None) -> datetime | None:
    # PostgreSQL doesn't accept every offset.
    return moment and moment.astimezone(UTC)


def _new_link() -> dict[str, Any]:
    token = secrets.token_urlsafe(24)
    return {"link_token": token, "link_fingerprint": fingerprint(token)}


def _get_subscriptions(order: Order, items: list[dict]) -> dict[str, Subscription]:
    """Get or create the subscriptions of these items, by reference.

    Type and period come from the order that was paid last, because customers can change them.
    """
    reported = {item["subscription"]["id"]: item["subscription"] for item in items if item["subscription"]}
    subscriptions = {}
    # Sorted, so that two payments that create the same subscriptions can't deadlock.
    for reference in sorted(reported):
        now = {name: reported[reference][name] for name in ("type", "period")}
        subscription, _ = Subscription.objects.get_or_create(
            merchant=order.merchant, reference=reference, defaults=now
        )
        changed = now != {"type": subscription.type, "period": subscription.period}
        if changed and not subscription.order_items.filter(order__paid_at__gt=order.paid_at).exists():
            subscription.type, subscription.period = now["type"], now["period"]
            subscription.save(update_fields=["type", "period"])
        subscriptions[reference] = subscription
    return subscriptions


def _build_other(order: Order, item: dict) -> OtherItem:
    price, same = Decimal(item["total_price"]), {name: item[name] for name in ("quantity", "subscription")}
    return OtherItem(order=order, reference=item["item"], product=item["sku"], total_price=price, **same)


def _build_item(order: Order, item: dict, subscriptions: dict[str, Subscription]) -> OrderItem:
    reported = item["subscription"] or {"id": None, "parent_order": None}
    return OrderItem(
        order=order,
        reference=item["item"],
        product=item["product"],
        quantity=item["quantity"],
        units=item["product"].units(item["quantity"]),
        total_price=Decimal(item["total_price"]),
        subscription=subscriptions.get(reported["id"]),
        parent_order=reported["parent_order"] or "",
    )


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
                gettext("Refund {reference} is already recorded with {amount} {currency}.").format(
                    reference=reference, amount=known.amount, currency=order.currency
                )
            )
        if known:
            return order
        if order.status == Order.Status.DELETED and amount is None:
            return order
        if order.status != Order.Status.PAID:
            raise RefundRefused(gettext("The order is {status}, not paid.").format(status=order.status))

        left = order.left_to_refund()
        if expected is not None and left != expected:
            raise RefundRefused(
                gettext(
                    "Another refund was just recorded, and {left} {currency} are left. Check the amount again."
                ).format(left=left, currency=order.currency)
            )
        if amount is not None and amount > left:
            raise RefundRefused(
                gettext("Only {left} {currency} are left to refund.").format(left=left, currency=order.currency)
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
            gettext("The order is {status}. You can only undo a full refund.").format(status=order.status)
        )

    Refund.objects.filter(pk=last.pk).update(undone_at=Now(), undone_by=actor)
    order.status, order.ended_at = Order.Status.PAID, None
    order.save(update_fields=["status", "ended_at"])
    OrderEvent.objects.create(order=order, kind=OrderEvent.Kind.REINSTATED, happened_by=actor)
    order_reinstated.send(Order, order=order, actor=actor)
    return order


@transaction.atomic
def _undo_refund(order: Order, moment: datetime, actor: str) -> None:
    """Undo a full refund because the shop reports that it did so at this moment, once per moment.

    So a late repetition of the report doesn't undo a newer refund.
    """
    # A stored moment in the future was a mistake, so the correct one may be earlier.
    is_later = Q(reinstated_at__lt=_in_utc(moment)) | Q(reinstated_at__gt=Now()) & ~Q(reinstated_at=_in_utc(moment))
    new = Q(reinstated_at=None) | is_later
    if Order.objects.filter(new, pk=order.pk).update(reinstated_at=_in_utc(moment)):
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
    _change_link(order, _new_link(), OrderEvent.Kind.LINK_RENEWED, actor)


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
