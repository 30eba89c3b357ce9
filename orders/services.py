import secrets
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from merchants.models import Merchant, Product
from orders.content import digest_content, find_differences
from orders.models import ActivationCode, Order, OrderEvent, OrderItem, OtherItem, Refund, Subscription
from orders.signals import order_paid, order_refunded, order_reinstated
from vault.fingerprints import fingerprint
from work.refusals import Refused


class PaymentConflict(Refused):
    """An order of this number exists and says something else: in these fields of the payment, as JSON pointers."""

    code = "payment_conflict"

    def __init__(self, message: str, pointers: list[str]):
        super().__init__(message)
        self.errors = [{"pointer": each, "detail": "It was reported with another value before."} for each in pointers]


class CodeWithdrawn(Refused):
    """The code was replaced, or its key returned to stock."""

    code = "code_withdrawn"

    def __init__(self) -> None:
        super().__init__("This activation code counts no more: it was replaced, or returned to stock.")


class RefundRefused(Refused):
    code = "refund_refused"


class ReinstateRefused(Refused):
    code = "reinstate_refused"


class OrderClosed(Refused):
    code = "order_closed"


def place_order(merchant: Merchant, payment: dict, *, actor: str = "") -> tuple[Order, bool]:
    """Store a payment that somebody reported; return its order, and whether it is new.

    `payment` is the validated data of a PaymentSerializer. A payment that was reported before, also at this moment in
    another request, gives the order it made then, with those of its items sold that have a product only now. Raises
    PaymentConflict if that order's content was different.
    """
    content = digest_content(payment)
    try:
        with transaction.atomic():
            return _create_order(merchant, payment, content, actor), True
    except IntegrityError:
        # The unique number refused it: another request was first, and has committed.
        order = Order.objects.filter(merchant=merchant, number=payment["order"]).first()
        if order is None:
            raise

    if differing := find_differences(order, payment, content):
        raise PaymentConflict(f"Order {order.number} exists with different content.", differing)
    if payment.get("reinstated_at"):
        _take_back_refund(order, payment["reinstated_at"], actor)
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
    """Sell those of a paid order's items that were *not ours* and have a product by now; return how many."""
    if not order.other_items.mappable().exists():
        return 0
    # Serializes two who map the same items, and both with a refund.
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
    # PostgreSQL does not take every offset.
    return moment and moment.astimezone(UTC)


def _new_link() -> dict[str, Any]:
    token = secrets.token_urlsafe(24)
    return {"link_token": token, "link_fingerprint": fingerprint(token)}


def _get_subscriptions(order: Order, items: list[dict]) -> dict[str, Subscription]:
    """The subscriptions of these items by reference, made if need be.

    Type and period are as the order that was paid last says: customers change them.
    """
    reported = {item["subscription"]["id"]: item["subscription"] for item in items if item["subscription"]}
    subscriptions = {}
    # Always in the same order: two payments that make the same ones must not wait for one another.
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
    """Record a refund: of the given amount, or of all that is left. Return the order as it stands now.

    Once nothing is left the order is `deleted`. A refund whose reference was recorded before is not recorded again.
    Raises RefundRefused if the order is not paid, less is left, or not what somebody expected to be left.
    """
    with transaction.atomic():
        # Serializes refunds of one order with each other and with codes being saved in it.
        order = Order.objects.select_for_update(no_key=True).get(pk=order.pk)
        known = order.refunds.filter(reference=reference).first() if reference else None
        if known and amount is not None and known.amount != amount:
            raise RefundRefused(f"Refund {reference} is recorded already, of {known.amount} {order.currency}.")
        if known:
            return order
        if order.status == Order.Status.DELETED and amount is None:
            return order
        if order.status != Order.Status.PAID:
            raise RefundRefused(f"The order is {order.status}, not paid.")

        left = order.left_to_refund()
        if expected is not None and left != expected:
            raise RefundRefused(f"Meanwhile a refund was recorded, and {left} {order.currency} are left. Look again.")
        if amount is not None and amount > left:
            raise RefundRefused(f"Only {left} {order.currency} are left to refund.")

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
    """Undo an order's full refund: it is paid again. Return the order as it stands now.

    Parts that were refunded before stay refunded. Raises ReinstateRefused if the order was not refunded in full.
    """
    # Serializes with refunds, with keys that are returned to stock, and with codes being saved.
    order = Order.objects.select_for_update(no_key=True).get(pk=order.pk)
    last = order.refunds.filter(undone_at=None).order_by("pk").last()
    if order.status != Order.Status.DELETED or last is None:
        raise ReinstateRefused(f"The order is {order.status}; only a full refund can be undone.")

    Refund.objects.filter(pk=last.pk).update(undone_at=Now(), undone_by=actor)
    order.status, order.ended_at = Order.Status.PAID, None
    order.save(update_fields=["status", "ended_at"])
    OrderEvent.objects.create(order=order, kind=OrderEvent.Kind.REINSTATED, happened_by=actor)
    order_reinstated.send(Order, order=order, actor=actor)
    return order


@transaction.atomic
def _take_back_refund(order: Order, moment: datetime, actor: str) -> None:
    """Undo a full refund because the shop says that it did, at this moment; a moment it named before changes nothing.

    So a late repetition of the report does not undo a refund that was made since.
    """
    # A moment still to come was a mistake: the true one may be earlier.
    is_later = Q(reinstated_at__lt=_in_utc(moment)) | Q(reinstated_at__gt=Now()) & ~Q(reinstated_at=_in_utc(moment))
    new = Q(reinstated_at=None) | is_later
    if Order.objects.filter(new, pk=order.pk).update(reinstated_at=_in_utc(moment)):
        with suppress(ReinstateRefused):  # staff were faster, or it was never refunded here
            reinstate(order, actor=actor)
    order.refresh_from_db(fields=["status", "ended_at", "reinstated_at"])


@transaction.atomic
def correct_email(order: Order, email: str, *, actor: str) -> bool:
    """Give an order the address that its customer really has; return whether that changes anything.

    What is mailed from then on goes there, also what is queued already.
    """
    # Serializes corrections with resends: what is sent again goes to the address that the page showed.
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
    """So many codes of the order, from this one on, for its customer, who from then on has seen them.

    Raises OrderClosed if the order is not paid any more, the link that led to it is not its link any more, or its
    checkout page allows no delivery.
    """
    # Serializes with refunds and changes of the link: what was not seen before them is not seen after.
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
    """Return a code's text for a person to see, and record who. Raises CodeWithdrawn if it was taken back."""
    # Serializes with whatever returns the key to stock because nobody has seen it.
    Order.objects.select_for_update(no_key=True).get(pk=code.item.order_id)
    code.refresh_from_db(fields=["withdrawn_at"], from_queryset=ActivationCode.all_codes.all())
    if code.withdrawn_at:
        raise CodeWithdrawn
    OrderEvent.objects.create(
        order_id=code.item.order_id, kind=OrderEvent.Kind.CODE_REVEALED, code=code, happened_by=actor
    )
    return str(code.code)


def revoke_link(order: Order, *, actor: str) -> bool:
    """Have the customer's link lead nowhere from now on; return whether it led anywhere."""
    return _change_link(order, {"link_token": None, "link_fingerprint": None}, OrderEvent.Kind.LINK_REVOKED, actor)


def renew_link(order: Order, *, actor: str) -> None:
    """Give the customer's page a new link, also if it had none; the old one dies at once."""
    _change_link(order, _new_link(), OrderEvent.Kind.LINK_RENEWED, actor)


@transaction.atomic
def _change_link(order: Order, link: dict[str, Any], kind: OrderEvent.Kind, actor: str) -> bool:
    # Serializes changes with each other, and with customers who are shown codes.
    order.refresh_from_db(fields=list(link), from_queryset=Order.objects.select_for_update(no_key=True))
    if not (order.link_token or link["link_token"]):
        return False

    order.link_token, order.link_fingerprint = link["link_token"], link["link_fingerprint"]
    order.save(update_fields=list(link))
    OrderEvent.objects.create(order=order, kind=kind, happened_by=actor)
    return True
