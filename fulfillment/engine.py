"""From a paid order to delivered codes. Locks are taken in this order: merchant, pool, order, keys."""

import logging
from functools import partial

from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext

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
    """Start fulfilling an order's items, in the transaction that marks it paid."""
    for item in items:
        top_up_at_once(Fulfillment.objects.create(item=item))
        wake_renewals(item)


class FulfillmentPolicy(Policy[Fulfillment]):
    model = Fulfillment

    def attempt(self, fulfillment):
        """Return False if a source was busy, so nothing was attempted."""
        return top_up(fulfillment)

    def fail(self, fulfillment, failure):
        _record_shortage(fulfillment, [], [(None, failure)])


fulfill = FulfillmentPolicy().run


def fulfill_in_turn(pk: int) -> None:
    """Make one attempt at a fulfillment, then queue the next due one of each server it may have called."""
    with advisory_lock("fulfill by request", pk) as locked:
        # Without the lock, a second worker would send the same request at the same time.
        tried = locked and fulfill(pk) is not False
    fulfillment = Fulfillment.objects.select_related("item__product").filter(pk=pk).first() if tried else None
    if fulfillment is None:
        return
    for method in FulfillmentMethod.objects.for_product(fulfillment.item.product):
        upstream = method.upstream
        # A paused server gets enough probes from the sweep.
        if upstream and not upstream.paused_at and (following := Fulfillment.objects.next_for(upstream)):
            publish(Fulfillment.TASK, following, queue=CALLOUTS)


def serve_waiting(pool: LicensePool) -> None:
    """Issue a pool's keys to the items waiting for them, oldest payment first, one transaction per item."""
    with advisory_lock("serve_waiting", pool.pk) as locked:
        if not locked:
            return
        for fulfillment in Fulfillment.objects.waiting_for(pool).select_related("item__order", "item__product"):
            pool.refresh_from_db(fields=["head_hint"])
            if not pool.available_up_to(1):
                return
            top_up_at_once(fulfillment)
    # Only after the waiting items.
    fill_reserve(pool)


def top_up_at_once(fulfillment: Fulfillment) -> None:
    """Ask the immediate sources, in the current transaction.

    An error must not roll back the payment or block other waiting items, so it is logged and the sweep retries.
    """
    try:
        with transaction.atomic():
            top_up(fulfillment, immediate_only=True)
    except Exception:
        logger.exception("%s failed and will be retried", fulfillment)


def top_up(fulfillment: Fulfillment, *, immediate_only: bool = False) -> bool:
    """Ask the product's sources in turn for the item's missing codes and save them.

    Repeating this never issues more codes than the item needs. With `immediate_only`, stop at the first source that
    isn't immediate and queue a worker for it. Return False if a source was busy and should be asked again soon.
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
            # Its codes are still coming, or a person has to decide about one, so don't ask the next source for them.
            failed.append((source, error))
            break
        except SourceError as error:
            failed.append((source, error))

    _record_shortage(fulfillment, shortages, failed)
    return not any(isinstance(error, SourceBusy) for _, error in failed)


def _collect(fulfillment: Fulfillment, source: Source) -> bool:
    """Get missing codes from one source and save them. Return whether the item is complete."""
    item = fulfillment.item
    issued = None
    if not source.immediate:
        _check_paid(item.order)
        issued = _issue(fulfillment, source, item.missing_units())
    with transaction.atomic():
        lock_paid(item.order)
        # Another worker may have saved some of them in between.
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
    """Return the codes a source issued, by unit, and the error that stopped it. Codes from before the error count."""
    codes = {}
    try:
        for unit, code in source.issue(fulfillment.item, missing, attempt=fulfillment.attempts) if missing else ():
            codes[unit] = code
    except SourceError as error:
        return codes, error
    return codes, None


def lock_paid(order: Order) -> None:
    """Lock the order, which serializes saving codes, refunds and resends. Raises OrderNotPaid."""
    order.refresh_from_db(fields=["status", "email"], from_queryset=Order.objects.select_for_update(no_key=True))
    _check_paid(order)


def _check_paid(order: Order) -> None:
    if order.status != Order.Status.PAID:
        raise OrderNotPaid(gettext("The order is {status}.").format(status=order.status))


def save_codes(
    fulfillment: Fulfillment, codes: dict[int, str], missing: list[int], *, source: str, actor: str = ""
) -> bool:
    """Save codes for missing units and return whether the item is complete. The caller holds the order's lock."""
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
        # Progress resets the one-day deadline.
        fulfillment.failing_since = None
        fulfillment.save(update_fields=["failing_since"])

    complete = len(new) == len(missing)
    if complete:
        _finish(fulfillment)
    return complete


def _finish(fulfillment: Fulfillment, *, sent_by_vendor: bool = False) -> None:
    fulfillment.finish(sent_by_vendor=sent_by_vendor)
    wake_renewals(fulfillment.item)


def _record_shortage(
    fulfillment: Fulfillment, shortages: list[str], failed: list[tuple[Source | None, Failure]]
) -> None:
    errors = [error for _, error in failed]
    reason = " ".join([*shortages, *map(str, errors)]) or gettext("The product has no sources.")
    not_asked = [error for error in errors if isinstance(error, NotNow)]
    for_good = all(error.permanent or fulfillment.is_last_attempt for error in errors) and not not_asked
    with transaction.atomic():
        lock_paid(fulfillment.item.order)
        if not fulfillment.item.missing_units():
            # A person or another worker has saved them in between.
            _finish(fulfillment)
            return
        if not_asked:
            fulfillment.wait(reason, min(error.pause for error in not_asked))
            if any(isinstance(error, LicenseAwaited) for error in not_asked):
                transaction.on_commit(partial(_wake_if_ready, fulfillment), robust=True)
            return
        if not for_good:
            pause = max(error.pause for error in errors if not error.permanent)
            failing_since = fulfillment.failing_since or Now()
            fulfillment.postpone(
                reason, at_least=pause, status=Fulfillment.Status.WAITING, failing_since=failing_since
            )
            return
        # A waiting item is woken by new keys, a new source or a person.
        status = Fulfillment.Status.FAILED if errors and not shortages else Fulfillment.Status.WAITING
        fulfillment.end(status=status, reason=reason[:500])
        for source, _ in failed:
            source.notify_merchant(fulfillment.item) if source else notify_item(fulfillment.item)
        if not failed and not shortages:
            notify_item(fulfillment.item)


def wake_renewals(item: OrderItem) -> None:
    """Recheck renewals that may be waiting for this item's license or for its order to be reported.

    This happens after the commit, so that they see it and no payment waits for another order's lock.
    """
    if item.subscription_id:
        transaction.on_commit(partial(_wake_renewals, item), robust=True)


def _wake_renewals(item: OrderItem) -> None:
    renewals = Fulfillment.objects.waiting().filter(item__subscription=item.subscription_id).exclude(item=item)
    in_order = renewals.order_by("item__order__paid_at", "pk")
    pks = list(in_order.values_list("pk", flat=True))
    Fulfillment.objects.filter(pk__in=pks, status=Fulfillment.Status.WAITING).wake()
    if pks:
        # Most of the others wait for this one. The sweep finds them.
        publish(Fulfillment.TASK, pks[0], queue=CALLOUTS)


def _wake_if_ready(fulfillment: Fulfillment) -> None:
    """Wake a renewal whose license arrived after it looked and before its wait was recorded.

    Each side commits before it looks for the other, so at least one of them sees the other.
    """
    if find_wait(fulfillment.item) is None:
        Fulfillment.objects.filter(pk=fulfillment.pk, status=Fulfillment.Status.WAITING).wake()
        fulfillment.nudge()
