"""From a paid order to delivered codes. Locks are taken in this order: merchant, pool, order, keys."""

import logging
from collections.abc import Iterable
from functools import partial

from django.db import transaction
from django.db.models.functions import Now

from delivery.models import Delivery
from delivery.resending import queue_delivery
from fulfillment.item_notices import tell_of_item
from fulfillment.models import Fulfillment, FulfillmentMethod
from fulfillment.sources.base import CodeHeld, LicenseAwaited, Source, SourceBusy, SourceError, SourceNotReady
from fulfillment.sources.manual.source import ManualSource
from fulfillment.sources.pool.source import PoolSource
from orders.models import ActivationCode, Order, OrderEvent, OrderItem
from orders.subscriptions import find_wait
from outbound.breaker import probe_now
from outbound.models import Upstream
from pools.allocation import allocate_keys, fill_reserve, return_key
from pools.ledger import moved_by
from pools.models import LicenseKey, LicensePool
from vault.fingerprints import fingerprint
from work.attempts import Failure, NotNow, Policy
from work.models import CALLOUTS, alone, publish
from work.refusals import Refused

logger = logging.getLogger(__name__)


class OrderNotPaid(Exception):
    pass


class CodeRefused(Refused):
    code = "code_refused"


class RetryRefused(Refused):
    code = "retry_refused"


class ReplaceRefused(Refused):
    code = "replace_refused"


class ReturnRefused(Refused):
    code = "return_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The key is not returned. {reason}")


def begin(items: list[OrderItem]) -> None:
    """Start fulfillment of an order's items, in the transaction in which it was paid."""
    for item in items:
        top_up_at_once(Fulfillment.objects.create(item=item))
        wake_renewals(item)


class Fulfilling(Policy[Fulfillment]):
    model = Fulfillment

    def attempt(self, fulfillment):
        """Return False if it was none, for a source was busy."""
        return top_up(fulfillment)

    def fail(self, fulfillment, failure):
        _note_what_is_missing(fulfillment, [], [(None, failure)])


fulfill = Fulfilling().run


def fulfill_in_turn(pk: int) -> None:
    """Make one attempt at a fulfillment; if a server was called, have the next one made that waits for its turn."""
    with alone("fulfill_by_callout", pk) as is_alone:
        # Who was woken while at it would ask for the same twice at the same time.
        tried = is_alone and fulfill(pk) is not False
    if not tried:
        return
    fulfillment = Fulfillment.objects.select_related("item__product").get(pk=pk)
    for method in FulfillmentMethod.objects.of(fulfillment.item.product):
        upstream = method.upstream
        # While it is paused the sweep has enough of them look.
        if upstream and not upstream.paused_at and (following := Fulfillment.objects.next_of(upstream)):
            publish(Fulfillment.TASK, following, queue=CALLOUTS)


def serve_waiting(pool: LicensePool) -> None:
    """Give a pool's keys to the items that wait for them, oldest payment first, each in a transaction of its own."""
    with alone("serve_waiting", pool.pk) as is_alone:
        if not is_alone:
            return
        for fulfillment in Fulfillment.objects.waiting_for(pool).select_related("item__order", "item__product"):
            pool.refresh_from_db(fields=["head_hint"])
            if not pool.available_up_to(1):
                return
            top_up_at_once(fulfillment)
    # Those who waited come first.
    fill_reserve(pool)


def top_up_at_once(fulfillment: Fulfillment) -> None:
    """Ask the sources that answer inside the present transaction.

    Whatever goes wrong there must not take the payment, or the items that wait behind, with it: the sweep tries again.
    """
    try:
        with transaction.atomic():
            top_up(fulfillment, immediate_only=True)
    except Exception:
        logger.exception("%s will be tried again", fulfillment)


def top_up(fulfillment: Fulfillment, *, immediate_only: bool = False) -> bool:
    """Ask the product's sources in turn for the codes the item lacks, and save what comes.

    Asking again never gives more than the item needs. With `immediate_only` the first source that is not is left to a
    worker. Returns False if one was busy and is to be asked again soon.
    """
    try:
        return _ask_sources(fulfillment, immediate_only)
    except OrderNotPaid as problem:
        fulfillment.end(reason=str(problem))
        return True


def _ask_sources(fulfillment: Fulfillment, immediate_only: bool) -> bool:
    shortages: list[str] = []
    failed: list[tuple[Source | None, Failure]] = []
    for method in FulfillmentMethod.objects.of(fulfillment.item.product):
        source = method.kind
        if immediate_only and not source.immediate:
            nudge = partial(publish, Fulfillment.TASK, fulfillment.pk, queue=CALLOUTS)
            transaction.on_commit(nudge, robust=True)
            return True
        try:
            if _collect(fulfillment, source):
                return True
            shortages.append(source.shortage())
        except (SourceNotReady, CodeHeld) as error:
            # What it is to give is on its way, or a person has to look at it: no other source is asked for it.
            failed.append((source, error))
            break
        except SourceError as error:
            failed.append((source, error))

    _note_what_is_missing(fulfillment, shortages, failed)
    return not any(isinstance(error, SourceBusy) for _, error in failed)


def _collect(fulfillment: Fulfillment, source: Source) -> bool:
    """Get from one source what the item lacks, and save it; return whether nothing is missing any more."""
    item = fulfillment.item
    if not source.immediate:
        _check_paid(item.order)
        codes, problem = _issue(fulfillment, source)
        with transaction.atomic():
            _lock_paid(item.order)
            if source.sends_itself and problem is None:
                _finish(fulfillment, sent_by_vendor=True)
                return True
            # Another worker may have saved some of them meanwhile.
            complete = _save_codes(fulfillment, codes, item.missing_units(), source=source.code)
        if problem and not complete:
            raise problem
        return complete

    with transaction.atomic():
        _lock_paid(item.order)
        missing = item.missing_units()
        codes = dict(source.issue(item, missing, attempt=fulfillment.attempts)) if missing else {}
        return _save_codes(fulfillment, codes, missing, source=source.code)


def _issue(fulfillment: Fulfillment, source: Source) -> tuple[dict[int, str], SourceError | None]:
    """What a source gives for the units without a code, and why no more: what came before an error is kept."""
    codes = {}
    try:
        missing = fulfillment.item.missing_units()
        for unit, code in source.issue(fulfillment.item, missing, attempt=fulfillment.attempts):
            codes[unit] = code
    except SourceError as error:
        return codes, error
    return codes, None


def _lock_paid(order: Order) -> None:
    """Serialize whatever finishes an order's items with each other, with refunds and with resends."""
    order.refresh_from_db(fields=["status", "email"], from_queryset=Order.objects.select_for_update(no_key=True))
    _check_paid(order)


def _check_paid(order: Order) -> None:
    if order.status != Order.Status.PAID:
        raise OrderNotPaid(f"The order is {order.status}.")


def _save_codes(
    fulfillment: Fulfillment, codes: dict[int, str], missing: list[int], *, source: str, by: str = ""
) -> bool:
    """Save codes for the missing units; return whether none is missing now. The caller holds the order's lock."""
    item = fulfillment.item
    new = [
        ActivationCode.build(codes[unit], item=item, unit=unit, source=source, saved_by=by)
        for unit in missing
        if unit in codes
    ]
    ActivationCode.objects.bulk_create(new)
    if new:
        queue_delivery(item.order, new)
    if new and fulfillment.failing_since:
        # It gets on: its sources have a day again.
        fulfillment.failing_since = None
        fulfillment.save(update_fields=["failing_since"])

    complete = len(new) == len(missing)
    if complete:
        _finish(fulfillment)
    return complete


def _finish(fulfillment: Fulfillment, *, sent_by_vendor: bool = False) -> None:
    fulfillment.finish(sent_by_vendor=sent_by_vendor)
    wake_renewals(fulfillment.item)


def _note_what_is_missing(
    fulfillment: Fulfillment, shortages: list[str], failed: list[tuple[Source | None, Failure]]
) -> None:
    errors = [error for _, error in failed]
    reason = " ".join([*shortages, *map(str, errors)]) or "No fulfillment method is set up for the product."
    not_asked = [error for error in errors if isinstance(error, NotNow)]
    for_good = all(error.permanent or fulfillment.is_last_attempt for error in errors) and not not_asked
    with transaction.atomic():
        _lock_paid(fulfillment.item.order)
        if not fulfillment.item.missing_units():
            # A person, or another worker, was faster.
            _finish(fulfillment)
            return
        if not_asked:
            fulfillment.wait(reason, min(error.pause for error in not_asked))
            if any(isinstance(error, LicenseAwaited) for error in not_asked):
                transaction.on_commit(partial(_look_again, fulfillment), robust=True)
            return
        if not for_good:
            pause = max(error.pause for error in errors if not error.permanent)
            failing_since = fulfillment.failing_since or Now()
            fulfillment.postpone(
                reason, at_least=pause, status=Fulfillment.Status.WAITING, failing_since=failing_since
            )
            return
        # New keys, a new method or a person will wake what only waits.
        status = Fulfillment.Status.FAILED if errors and not shortages else Fulfillment.Status.WAITING
        fulfillment.end(status=status, reason=reason[:500])
        for source, _ in failed:
            source.tell_merchant(fulfillment.item) if source else tell_of_item(fulfillment.item)
        if not failed and not shortages:
            tell_of_item(fulfillment.item)


def wake_renewals(item: OrderItem) -> None:
    """Have the renewals look again that may wait for an item's license, or for its order to be reported.

    After the commit, for two reasons: they then see it, and no payment waits for a lock of another order's.
    """
    if item.subscription_id:
        transaction.on_commit(partial(_wake_renewals, item), robust=True)


def _wake_renewals(item: OrderItem) -> None:
    renewals = Fulfillment.objects.waiting().filter(item__subscription=item.subscription_id).exclude(item=item)
    in_order = renewals.order_by("item__order__paid_at", "pk")
    pks = list(in_order.values_list("pk", flat=True))
    Fulfillment.objects.filter(pk__in=pks, status=Fulfillment.Status.WAITING).wake()
    if pks:
        # The others are swept up: most of them wait for this one.
        publish(Fulfillment.TASK, pks[0], queue=CALLOUTS)


def _look_again(fulfillment: Fulfillment) -> None:
    """Have a renewal tried at once if what it waits for came after it looked and before this was noted.

    Each side commits what it has before it looks for the other, so one of the two sees the other.
    """
    if find_wait(fulfillment.item) is None:
        Fulfillment.objects.filter(pk=fulfillment.pk, status=Fulfillment.Status.WAITING).wake()
        fulfillment.nudge()


@transaction.atomic
def retry(item: OrderItem, *, by: str) -> None:
    """Have a fulfillment tried again now that failed, or waits. Raises RetryRefused if there is nothing to try."""
    try:
        _lock_paid(item.order)
    except OrderNotPaid as problem:
        raise RetryRefused(str(problem)) from problem
    fulfillment = item.fulfillment
    fulfillment.refresh_from_db(fields=["status", "reason"])
    again = Fulfillment.objects.filter(pk=fulfillment.pk).unfinished()
    if not again.start_again():
        raise RetryRefused("All activation codes of this item are saved.")

    OrderEvent.objects.create(
        order=item.order,
        kind=OrderEvent.Kind.RETRIED,
        item=item,
        details={"status": fulfillment.status, "reason": fulfillment.reason},
        happened_by=by,
    )
    for method in FulfillmentMethod.objects.of(item.product):
        if method.upstream:
            probe_now(method.upstream)
    fulfillment.nudge()


@transaction.atomic
def retry_failed(upstream: Upstream, *, by: str) -> int:
    """Have all items of paid orders that this server was given up for tried again; how many they are.

    The oldest payments come first. Asked again at once there is none.
    """
    # Serializes the second click with the first.
    Upstream.objects.select_for_update(no_key=True).get(pk=upstream.pk)
    failed = Fulfillment.objects.of_upstream(upstream).given_up().filter(item__held_codes=None)
    rows = list(failed.distinct().values_list("pk", "item", "item__order", "status", "reason"))
    if not rows:
        return 0
    Fulfillment.objects.filter(pk__in=[pk for pk, *_ in rows]).start_again()
    events = (
        OrderEvent(
            order_id=order,
            kind=OrderEvent.Kind.RETRIED,
            item_id=item,
            details={"status": status, "reason": reason},
            happened_by=by,
        )
        for _, item, order, status, reason in rows
    )
    OrderEvent.objects.bulk_create(events, batch_size=1000)
    probe_now(upstream)
    # Who is done with the first has the next one tried, and the sweep finds them all.
    if first := Fulfillment.objects.next_of(upstream):
        transaction.on_commit(lambda: publish(Fulfillment.TASK, first, queue=CALLOUTS), robust=True)
    return len(rows)


@transaction.atomic
def replace(code: ActivationCode, *, by: str, reason: str = "") -> tuple[ActivationCode, bool]:
    """Give the customer another key of the same pool for one that does not work, also of its reserve.

    Return the new code, and whether it is new: asked again it is the same. Raises ReplaceRefused.
    """
    item = code.item
    try:
        _lock_paid(item.order)
    except OrderNotPaid as problem:
        raise ReplaceRefused(str(problem)) from problem
    code.refresh_from_db(fields=["withdrawn_at", "replaced_by"], from_queryset=ActivationCode.all_codes.all())
    if code.replaced_by:
        return code.replaced_by, False
    issued = LicenseKey.objects.issued().filter(item=item, unit=code.unit).select_related("pool").first()
    if issued is None:
        raise ReplaceRefused("Only a code that came from a pool can be replaced by another of it.")

    with moved_by(by):
        withdrawn = {"withdrawn_at": Now(), "withdrawn_because": LicenseKey.Because.REPLACED}
        LicenseKey.objects.filter(pk=issued.pk).update(**withdrawn)
        units = [code.unit]
        keys = allocate_keys(issued.pool, item, units) or allocate_keys(issued.pool, item, units, from_reserve=True)
        if not keys:
            raise ReplaceRefused(f"The pool “{issued.pool}” has no keys left, not even in reserve.")
    ActivationCode.objects.filter(pk=code.pk).update(withdrawn_at=Now(), withdrawn_by=by)
    new = ActivationCode.build(keys[code.unit].code, item=item, unit=code.unit, source=code.source, saved_by=by)
    new.save()
    ActivationCode.all_codes.filter(pk=code.pk).update(replaced_by=new)
    OrderEvent.objects.create(
        order=item.order,
        kind=OrderEvent.Kind.REPLACED,
        code=code,
        details={"reason": reason} if reason else {},
        happened_by=by,
    )
    queue_delivery(item.order, [new])
    return new, True


@transaction.atomic
def issue_from_reserve(item: OrderItem, *, by: str) -> int:
    """Give an item that waits what it lacks from the reserves of its product's pools; return how many codes.

    Raises ReplaceRefused if there is nothing to give, or nobody to give it to.
    """
    try:
        _lock_paid(item.order)
    except OrderNotPaid as problem:
        raise ReplaceRefused(str(problem)) from problem
    missing = item.missing_units()
    codes: dict[int, str] = {}
    with moved_by(by):
        for pool in LicensePool.objects.of_chain(item.product):
            left = [unit for unit in missing if unit not in codes]
            keys = allocate_keys(pool, item, left, from_reserve=True)
            codes |= {unit: key.code for unit, key in keys.items()}
    if not codes:
        raise ReplaceRefused("Nothing is missing." if not missing else "There is nothing in reserve for this product.")

    _save_codes(item.fulfillment, codes, missing, source=PoolSource.code, by=by)
    return len(codes)


def why_not_return(code: ActivationCode, deliveries: Iterable[Delivery], *, revealed: bool) -> str:
    """Why a code of a refunded order cannot go back to stock; empty if nobody ever saw it, as far as we know."""
    if revealed or code.seen_at:
        return "It was shown to somebody."
    if any(delivery.attempts for delivery in deliveries):
        return "It was e-mailed."
    return ""


@transaction.atomic
def return_to_stock(code: ActivationCode, *, by: str) -> LicensePool:
    """Have the key of a refunded order, which nobody saw, sold to somebody else. Raises ReturnRefused."""
    quarantined = LicenseKey.objects.filter(
        item=code.item, unit=code.unit, fingerprint=code.fingerprint, withdrawn_because=LicenseKey.Because.REFUNDED
    )
    key = quarantined.select_related("pool").first()
    if key is None:
        raise ReturnRefused("Its key is not in quarantine.")
    # The pool before the order, as everywhere; then nobody sees the code, or has it mailed, while we look.
    LicensePool.objects.select_for_update(no_key=True).get(pk=key.pool_id)
    order = Order.objects.select_for_update(no_key=True).get(pk=code.item.order_id)
    code.refresh_from_db(fields=["seen_at", "withdrawn_at"], from_queryset=ActivationCode.all_codes.all())
    # The refund may have been undone meanwhile, and the same key issued to the same unit again, as another code.
    if code.withdrawn_at or not quarantined.exists():
        raise ReturnRefused("Its key is not in quarantine.")
    revealed = order.events.filter(kind=OrderEvent.Kind.CODE_REVEALED, code=code).exists()
    if reason := why_not_return(code, code.deliveries.all(), revealed=revealed):
        raise ReturnRefused(reason)

    with moved_by(by):
        return_key(key)
    ActivationCode.objects.filter(pk=code.pk).update(withdrawn_at=Now(), withdrawn_by=by)
    OrderEvent.objects.create(order=order, kind=OrderEvent.Kind.RETURNED, code=code, happened_by=by)
    return key.pool


@transaction.atomic
def enter_codes(item: OrderItem, codes: dict[int, str], *, by: str, source: str = ManualSource.code) -> None:
    """Save codes that a person found, or released, for these units of the item.

    Raises CodeRefused if one of the units has its code already, or the order is not paid.
    """
    try:
        _lock_paid(item.order)
    except OrderNotPaid as problem:
        raise CodeRefused(str(problem)) from problem
    missing = item.missing_units()
    if taken := set(codes) - set(missing):
        raise CodeRefused(f"Unit {min(taken)} has its activation code already.")
    if source == ManualSource.code:
        for unit, text in codes.items():
            _refuse_if_sold(item.order, unit, text)

    _save_codes(item.fulfillment, codes, missing, source=source, by=by)


def _refuse_if_sold(order: Order, unit: int, text: str) -> None:
    """Keep a person from giving away what is in a pool, or was given to somebody else. A link may go to many."""
    if text.startswith(("https://", "http://")):
        return
    key = LicenseKey.objects.filter(
        fingerprint=fingerprint(text), pool__merchant=order.merchant_id, withdrawn_at=None
    ).first()
    if key:
        raise CodeRefused(f"Activation code {unit} is a key of the pool “{key.pool}”, where it is {key.status}.")
    sold = Order.objects.filter(merchant=order.merchant_id).with_code(text).first()
    if sold:
        raise CodeRefused(f"Activation code {unit} was given to {sold} already.")
