"""Manual actions on items that are waiting, failed or refunded. Each one locks the order."""

from collections.abc import Iterable

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext

from delivery.models import Delivery
from fulfillment.engine import OrderHeld, OrderNotPaid, check_held, lock_paid, save_codes
from fulfillment.models import Fulfillment, FulfillmentMethod
from fulfillment.saving import NewCode, save
from fulfillment.sources.manual.source import ManualSource
from fulfillment.sources.pool.source import PoolSource
from merchants.models import Merchant, Product
from orders.models import ActivationCode, Order, OrderEvent, OrderItem
from outbound.breaker import probe_now
from outbound.models import Upstream
from pools.allocation import allocate_keys, return_key
from pools.ledger import moved_by
from pools.models import LicenseKey, LicensePool
from vault.fingerprints import fingerprint
from work.models import CALLOUTS, publish
from work.refusals import Refused

# Items that are queued at once when many are retried.
MAX_NUDGED = 100


class CodeRefused(Refused):
    code = "code_refused"


class RetryRefused(Refused):
    code = "retry_refused"


class ReplaceRefused(Refused):
    code = "replace_refused"


class ReturnRefused(Refused):
    code = "return_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(gettext("Can’t return the key. {reason}").format(reason=reason))


@transaction.atomic
def retry(item: OrderItem, *, actor: str) -> None:
    """Retry a failed or waiting fulfillment now. Raises RetryRefused if the order isn't paid or nothing is missing."""
    try:
        lock_paid(item.order)
    except OrderNotPaid as problem:
        raise RetryRefused(str(problem)) from problem
    fulfillment = item.fulfillment
    fulfillment.refresh_from_db(fields=["status", "reason"])
    again = Fulfillment.objects.filter(pk=fulfillment.pk).unfinished()
    if not again.start_again():
        raise RetryRefused(gettext("This item already has all its activation codes."))

    OrderEvent.objects.create(
        order=item.order,
        kind=OrderEvent.Kind.RETRIED,
        item=item,
        details={"status": fulfillment.status, "reason": fulfillment.reason},
        happened_by=actor,
    )
    for method in FulfillmentMethod.objects.for_product(item.product):
        if method.upstream and not item.order.merchant.is_test:
            probe_now(method.upstream)
    fulfillment.nudge()


@transaction.atomic
def retry_failed(upstream: Upstream, *, actor: str) -> int:
    """Retry every failed item of a paid order that takes codes from this server, oldest payment first.

    Return the number of items: 0 for a second click right after the first.
    """
    # Serializes two clicks on "Retry all failed".
    Upstream.objects.select_for_update(no_key=True).get(pk=upstream.pk)
    failed = Fulfillment.objects.for_upstream(upstream).given_up().filter(item__held_codes=None)
    count = _start_again(failed.distinct(), actor)
    if not count:
        return 0
    probe_now(upstream)
    # Each attempt queues the next one. The sweep finds any that get lost.
    if first := Fulfillment.objects.next_for(upstream):
        transaction.on_commit(lambda: publish(Fulfillment.TASK, first, queue=CALLOUTS), robust=True)
    return count


@transaction.atomic
def retry_all(merchant: Merchant, fulfillments: QuerySet[Fulfillment], *, actor: str) -> int:
    """Retry these unfinished items of paid orders. Return their number: 0 for a second click right after the first."""
    # Serializes two clicks.
    Merchant.objects.select_for_update(no_key=True).get(pk=merchant.pk)
    pks = list(fulfillments.order_by("pk").values_list("pk", flat=True))
    rows = Fulfillment.objects.filter(pk__in=pks)
    count = _start_again(rows, actor)
    products = Product.objects.filter(order_items__fulfillment__in=pks).distinct()
    for methods in FulfillmentMethod.objects.for_products(products).values():
        for method in methods:
            if method.upstream and not merchant.is_test:
                probe_now(method.upstream)
    # The sweep finds the others.
    for fulfillment in rows.select_related("item__product").order_by("pk")[:MAX_NUDGED]:
        fulfillment.nudge()
    return count


def _start_again(fulfillments: QuerySet[Fulfillment], actor: str) -> int:
    rows = list(fulfillments.values_list("pk", "item", "item__order", "status", "reason"))
    Fulfillment.objects.filter(pk__in=[pk for pk, *_ in rows]).start_again()
    events = (
        OrderEvent(
            order_id=order,
            kind=OrderEvent.Kind.RETRIED,
            item_id=item,
            details={"status": status, "reason": reason},
            happened_by=actor,
        )
        for _, item, order, status, reason in rows
    )
    OrderEvent.objects.bulk_create(events, batch_size=1000)
    return len(rows)


@transaction.atomic
def replace(code: ActivationCode, *, actor: str, reason: str = "") -> tuple[ActivationCode, bool]:
    """Replace a code that doesn't work with another key from the same pool or, if that is empty, from its reserve.

    Return the replacement and whether it is new: a second call returns the same one. Raises ReplaceRefused.
    """
    item = code.item
    try:
        lock_paid(item.order)
    except OrderNotPaid as problem:
        raise ReplaceRefused(str(problem)) from problem
    code.refresh_from_db(fields=["withdrawn_at", "replaced_by"], from_queryset=ActivationCode.all_codes.all())
    if code.replaced_by:
        return code.replaced_by, False
    issued = LicenseKey.objects.issued().filter(item=item, unit=code.unit).select_related("pool").first()
    if issued is None:
        raise ReplaceRefused(gettext("Can’t replace this code: it didn’t come from a pool."))

    with moved_by(actor):
        withdrawn = {"withdrawn_at": Now(), "withdrawn_because": LicenseKey.WithdrawalReason.REPLACED}
        LicenseKey.objects.filter(pk=issued.pk).update(**withdrawn)
        units = [code.unit]
        keys = allocate_keys(issued.pool, item, units) or allocate_keys(issued.pool, item, units, from_reserve=True)
        if not keys:
            raise ReplaceRefused(
                gettext("The pool “{pool}” has no keys left, not even in reserve.").format(pool=issued.pool)
            )
    ActivationCode.objects.filter(pk=code.pk).update(withdrawn_at=Now(), withdrawn_by=actor)
    new = NewCode(item, code.unit, keys[code.unit].code, code.source, actor)
    save([new])
    ActivationCode.all_codes.filter(pk=code.pk).update(replaced_by=new.id)
    OrderEvent.objects.create(
        order=item.order,
        kind=OrderEvent.Kind.REPLACED,
        code=code,
        details={"reason": reason} if reason else {},
        happened_by=actor,
    )
    return ActivationCode.objects.get(pk=new.id), True


@transaction.atomic
def issue_from_reserve(item: OrderItem, *, actor: str) -> int:
    """Fill a waiting item from the reserves of its product's pools. Return the number of codes issued.

    Raises ReplaceRefused if the order isn't paid, nothing is missing or the reserves are empty.
    """
    try:
        lock_paid(item.order)
        check_held(item.order)
    except (OrderNotPaid, OrderHeld) as problem:
        raise ReplaceRefused(str(problem)) from problem
    missing = item.missing_units()
    codes: dict[int, str] = {}
    with moved_by(actor):
        for pool in LicensePool.objects.with_reserve_for(item):
            left = [unit for unit in missing if unit not in codes]
            keys = allocate_keys(pool, item, left, from_reserve=True)
            codes |= {unit: key.code for unit, key in keys.items()}
    if not codes:
        if not missing:
            raise ReplaceRefused(gettext("This item already has all its activation codes."))
        raise ReplaceRefused(gettext("This product’s pools have no keys in reserve."))

    save_codes(item.fulfillment, codes, missing, source=PoolSource.code, actor=actor)
    return len(codes)


def why_not_return(code: ActivationCode, deliveries: Iterable[Delivery], *, revealed: bool) -> str:
    """Return why a refunded order's key can't go back to stock. Empty if, as far as we know, nobody has seen it."""
    if revealed or code.seen_at:
        return gettext("Somebody has seen it.")
    if any(delivery.attempts for delivery in deliveries):
        return gettext("It was sent by e-mail.")
    return ""


@transaction.atomic
def return_to_stock(code: ActivationCode, *, actor: str) -> LicensePool:
    """Make a refunded order's key available again, if nobody has seen it. Raises ReturnRefused."""
    quarantined = LicenseKey.objects.filter(
        item=code.item,
        unit=code.unit,
        fingerprint=code.fingerprint,
        withdrawn_because=LicenseKey.WithdrawalReason.REFUNDED,
    )
    key = quarantined.select_related("pool").first()
    if key is None:
        raise ReturnRefused(gettext("It isn’t in quarantine."))
    # Lock the pool before the order, as everywhere. The order's lock keeps the code from being shown or sent.
    LicensePool.objects.select_for_update(no_key=True).get(pk=key.pool_id)
    order = Order.objects.select_for_update(no_key=True).get(pk=code.item.order_id)
    code.refresh_from_db(fields=["seen_at", "withdrawn_at"], from_queryset=ActivationCode.all_codes.all())
    # The refund may have been undone in between and the key issued to the same unit again, as another code.
    if code.withdrawn_at or not quarantined.exists():
        raise ReturnRefused(gettext("It isn’t in quarantine."))
    revealed = order.events.filter(kind=OrderEvent.Kind.CODE_REVEALED, code=code).exists()
    if reason := why_not_return(code, code.deliveries.all(), revealed=revealed):
        raise ReturnRefused(reason)

    with moved_by(actor):
        return_key(key)
    ActivationCode.objects.filter(pk=code.pk).update(withdrawn_at=Now(), withdrawn_by=actor)
    OrderEvent.objects.create(order=order, kind=OrderEvent.Kind.RETURNED, code=code, happened_by=actor)
    return key.pool


@transaction.atomic
def enter_codes(item: OrderItem, codes: dict[int, str], *, actor: str, source: str = ManualSource.code) -> None:
    """Save codes, by unit, that a person entered or released.

    Raises CodeRefused if the order isn't paid, a unit already has a code or an entered code was already issued.
    """
    try:
        lock_paid(item.order)
        check_held(item.order)
    except (OrderNotPaid, OrderHeld) as problem:
        raise CodeRefused(str(problem)) from problem
    missing = item.missing_units()
    if taken := set(codes) - set(missing):
        raise CodeRefused(gettext("Unit {taken} already has an activation code.").format(taken=min(taken)))
    if source == ManualSource.code:
        for unit, text in codes.items():
            _refuse_if_sold(item.order, unit, text)

    save_codes(item.fulfillment, codes, missing, source=source, actor=actor)


def _refuse_if_sold(order: Order, unit: int, text: str) -> None:
    """Refuse an entered code that is in a pool or belongs to another order. Links are exempt: many may share one."""
    if text.startswith(("https://", "http://")):
        return
    pools = LicensePool.objects.of_vendor(order.merchant)
    key = LicenseKey.objects.filter(fingerprint=fingerprint(text), pool__in=pools, withdrawn_at=None).first()
    if key:
        raise CodeRefused(
            gettext("Activation code {unit} is a key in the pool “{pool}” ({status}).").format(
                unit=unit, pool=key.pool, status=gettext(key.status)
            )
        )
    sold = Order.objects.filter(merchant=order.merchant_id).with_code(text).first()
    if sold:
        raise CodeRefused(gettext("Activation code {unit} was already issued to {sold}.").format(unit=unit, sold=sold))
