"""From a paid order to delivered codes. Locks are taken in this order: merchant, pool, order, keys."""

import logging
from functools import partial

from django.db import transaction
from django.db.models.functions import Now

from delivery.resending import queue_delivery
from fulfillment.item_notices import notify_item
from fulfillment.models import Fulfillment, FulfillmentMethod
from fulfillment.sources.base import CodeHeld, LicenseAwaited, Source, SourceBusy, SourceError, SourceNotReady
from orders.models import ActivationCode, Order, OrderItem
from orders.subscriptions import find_wait
from pools.allocation import fill_reserve
from pools.models import LicensePool
from work.attempts import Failure, NotNow, Policy
from work.models import CALLOUTS, advisory_lock, publish

logger = logging.getLogger(__name__)


class OrderNotPaid(Exception):
    pass


def begin(items: list[OrderItem]) -> None:
    """Start fulfillment of an order's items, in the transaction in which it was paid."""
    for item in items:
        top_up_at_once(Fulfillment.objects.create(item=item))
        wake_renewals(item)


class FulfillmentPolicy(Policy[Fulfillment]):
    model = Fulfillment

    def attempt(self, fulfillment):
        """Return False if it was none, for a source was busy."""
        return top_up(fulfillment)

    def fail(self, fulfillment, failure):
        _note_what_is_missing(fulfillment, [], [(None, failure)])


fulfill = FulfillmentPolicy().run


def fulfill_in_turn(pk: int) -> None:
    """Make one attempt at a fulfillment; if a server was called, have the next one made that waits for its turn."""
    with advisory_lock("fulfill by request", pk) as locked:
        # Who was woken while at it would ask for the same twice at the same time.
        tried = locked and fulfill(pk) is not False
    fulfillment = Fulfillment.objects.select_related("item__product").filter(pk=pk).first() if tried else None
    if fulfillment is None:
        return
    for method in FulfillmentMethod.objects.for_product(fulfillment.item.product):
        upstream = method.upstream
        # While it is paused the sweep has enough of them look.
        if upstream and not upstream.paused_at and (following := Fulfillment.objects.next_of(upstream)):
            publish(Fulfillment.TASK, following, queue=CALLOUTS)


def serve_waiting(pool: LicensePool) -> None:
    """Give a pool's keys to the items that wait for them, oldest payment first, each in a transaction of its own."""
    with advisory_lock("serve_waiting", pool.pk) as locked:
        if not locked:
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
    for method in FulfillmentMethod.objects.for_product(fulfillment.item.product):
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
    issued = None
    if not source.immediate:
        _check_paid(item.order)
        issued = _issue(fulfillment, source, item.missing_units())
    with transaction.atomic():
        lock_paid(item.order)
        # Another worker may have saved some of them meanwhile.
        missing = item.missing_units()
        codes, problem = issued or _issue(fulfillment, source, missing)
        if source.sends_itself and problem is None:
            _finish(fulfillment, sent_by_vendor=True)
            return True
        complete = save_codes(fulfillment, codes, missing, source=source.code)
    if problem and not complete:
        raise problem
    return complete


def _issue(fulfillment: Fulfillment, source: Source, missing: list[int]) -> tuple[dict[int, str], SourceError | None]:
    """What a source gives for the units without a code, and why no more: what came before an error is kept."""
    codes = {}
    try:
        for unit, code in source.issue(fulfillment.item, missing, attempt=fulfillment.attempts) if missing else ():
            codes[unit] = code
    except SourceError as error:
        return codes, error
    return codes, None


def lock_paid(order: Order) -> None:
    """Serialize whatever finishes an order's items with each other, with refunds and with resends."""
    order.refresh_from_db(fields=["status", "email"], from_queryset=Order.objects.select_for_update(no_key=True))
    _check_paid(order)


def _check_paid(order: Order) -> None:
    if order.status != Order.Status.PAID:
        raise OrderNotPaid(f"The order is {order.status}.")


def save_codes(
    fulfillment: Fulfillment, codes: dict[int, str], missing: list[int], *, source: str, actor: str = ""
) -> bool:
    """Save codes for the missing units; return whether none is missing now. The caller holds the order's lock."""
    item = fulfillment.item
    new = [
        ActivationCode.build(codes[unit], item=item, unit=unit, source=source, saved_by=actor)
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
        lock_paid(fulfillment.item.order)
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
            source.notify_merchant(fulfillment.item) if source else notify_item(fulfillment.item)
        if not failed and not shortages:
            notify_item(fulfillment.item)


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
