"""From a paid order to delivered codes. Locks are taken in this order: merchant, pool, order, keys."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from operator import attrgetter

from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext

from fulfillment.item_notices import notify_item
from fulfillment.models import Fulfillment, FulfillmentMethod
from fulfillment.saving import NewCode, save
from fulfillment.sources.base import CodeHeld, CodeRequest, LicenseAwaited, Source, SourceBusy, SourceNotReady
from orders.models import Order, OrderItem
from orders.subscriptions import find_wait
from pools.allocation import fill_reserve
from pools.models import LicensePool
from work.attempts import Failure, NotNow, Policy
from work.locks import advisory_lock
from work.models import CALLOUTS, database_now, publish
from work.stored_texts import in_english

logger = logging.getLogger(__name__)

# Waiting items that are served in one transaction.
BATCH_SIZE = 200


class OrderNotPaid(Exception):
    pass


class OrderHeld(NotNow):
    """The order is being checked for fraud, so it gets no codes yet."""

    def __init__(self, held_until: datetime):
        super().__init__(gettext("The order is being checked."), pause=held_until - database_now())


def begin(items: list[OrderItem], *, at_once: bool = True) -> None:
    """Start fulfilling new items of a paid order, in the transaction that adds them.

    With `at_once`, ask the immediate sources now. Without it, leave all to the workers.
    """
    fulfillments = [Fulfillment(item=item) for item in items]
    for item in items:
        item.loaded_codes = []
    if items and (held_until := items[0].order.held_until):
        save([], fulfillments)
        for fulfillment in fulfillments:
            with in_english():
                Attempt(fulfillment, failed=[(None, OrderHeld(held_until))]).put_off()
    elif at_once:
        missing = {item.pk: list(range(1, item.units + 1)) for item in items}
        with in_english():
            attempts = _ask_immediate_sources(fulfillments, missing)
        for attempt in attempts:
            attempt.fulfillment.item.loaded_codes = sorted(attempt.codes, key=attrgetter("unit"))
    else:
        save([], fulfillments)
        for fulfillment in fulfillments:
            fulfillment.nudge()
    wake_renewals(*items)


class FulfillmentPolicy(Policy[Fulfillment]):
    model = Fulfillment
    related = ("item__order__merchant", "item__order__checkout_page", "item__product")

    def get_request_id(self, fulfillment):
        return fulfillment.item.order.shop_request_id

    def attempt(self, fulfillment):
        """Return False if a source was busy, so nothing was attempted."""
        return top_up(fulfillment)

    def fail(self, fulfillment, failure):
        _record_shortage(Attempt(fulfillment, failed=[(None, failure)]))


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
    """Issue a pool's keys to the items waiting for them, oldest payment first."""
    with advisory_lock("serve_waiting", pool.pk) as locked:
        if not locked:
            return
        waiting = list(Fulfillment.objects.waiting_for(pool).values_list("pk", flat=True))
        while waiting:
            pool.refresh_from_db(fields=["head_hint"])
            # Each item can use at least one key.
            available = pool.available_up_to(BATCH_SIZE)
            if not available:
                return
            top_up_at_once(waiting[:available])
            waiting = waiting[available:]
    # Only after the waiting items.
    fill_reserve(pool)


def top_up_at_once(pks: Sequence[int]) -> None:
    """Ask the immediate sources of these fulfillments' items, in turn and in one transaction.

    An error must not roll back the caller's work or block other items, so after an error each item is tried alone. An
    error then is logged, and the sweep retries.
    """
    try:
        with in_english(), transaction.atomic():
            fulfillments = _lock(pks)
            missing = OrderItem.find_missing_units([fulfillment.item for fulfillment in fulfillments])
            attempts = _ask_immediate_sources(fulfillments, missing)
            wake_renewals(*(attempt.fulfillment.item for attempt in attempts if attempt.is_complete))
    except Exception:
        if len(pks) == 1:
            logger.exception("Fulfillment %s failed and will be retried", pks[0])
            return
        for pk in pks:
            top_up_at_once([pk])


def _lock(pks: Sequence[int]) -> list[Fulfillment]:
    """Lock the orders of fulfillments, oldest payment first. Return those whose order is paid; end the others."""
    in_question = OrderItem.objects.filter(fulfillment__in=pks).values("order")
    locking = Order.objects.select_for_update(no_key=True, of=("self",)).select_related("merchant", "checkout_page")
    orders = {order.pk: order for order in locking.filter(pk__in=in_question).order_by("paid_at", "pk")}
    rows = Fulfillment.objects.select_related("item__product").in_bulk(pks)
    locked = []
    for fulfillment in (rows[pk] for pk in pks if pk in rows):
        order = fulfillment.item.order = orders[fulfillment.item.order_id]
        try:
            _check_paid(order)
            check_held(order)
        except OrderNotPaid as problem:
            fulfillment.end(reason=str(problem))
        except OrderHeld as problem:
            Attempt(fulfillment, failed=[(None, problem)]).put_off()
        else:
            locked.append(fulfillment)
    return locked


@dataclass(eq=False)
class Attempt:
    """One attempt at getting an item's codes from its product's sources."""

    fulfillment: Fulfillment
    sources: Iterator[Source] = field(default_factory=lambda: iter(()))
    missing: list[int] = field(default_factory=list)  # units
    codes: list[NewCode] = field(default_factory=list)  # not saved yet
    shortages: list[str] = field(default_factory=list)
    failed: list[tuple[Source | None, Failure]] = field(default_factory=list)
    request: CodeRequest = field(init=False)
    needs_worker: bool = False
    is_complete: bool = False
    sent_by_vendor: bool = False
    has_ended: bool = False

    def ask_next(self) -> bool:
        """Prepare the request to the next source. Return False if there is none, or if it isn't immediate."""
        source = next(self.sources, None)
        self.needs_worker = bool(source and not source.immediate)
        if source is None or self.needs_worker:
            return False
        self.request = CodeRequest(source, self.fulfillment.item, self.missing, self.fulfillment.attempts)
        return True

    def take(self, request: CodeRequest) -> None:
        """Take a source's answer."""
        source, item = request.source, self.fulfillment.item
        self.codes += [NewCode(item, unit, code, source.code) for unit, code in request.codes.items()]
        self.missing = [unit for unit in self.missing if unit not in request.codes]
        self.sent_by_vendor = source.sends_itself and request.problem is None
        self.is_complete = self.sent_by_vendor or not self.missing
        if request.problem and not self.is_complete:
            self.failed.append((source, request.problem))
            if isinstance(request.problem, SourceNotReady | CodeHeld):
                # Its codes are still coming, or a person has to decide about one, so the next source isn't asked.
                self.sources = iter(())
        elif not self.is_complete:
            self.shortages.append(source.shortage())

    @property
    def errors(self) -> list[Failure]:
        return [error for _, error in self.failed]

    @property
    def not_asked(self) -> list[NotNow]:
        return [error for error in self.errors if isinstance(error, NotNow)]

    @property
    def is_over(self) -> bool:
        """Whether asking again won't help."""
        last = self.fulfillment.is_last_attempt
        return not self.not_asked and all(error.permanent or last for error in self.errors)

    @property
    def reason(self) -> str:
        reasons = [*self.shortages, *map(str, self.errors)]
        return (" ".join(reasons) or gettext("The product has no sources."))[:500]

    def end(self) -> None:
        """Set the outcome, without saving it."""
        outcome, Status = self.fulfillment, Fulfillment.Status
        self.has_ended, outcome.due_at = True, None
        if self.is_complete:
            outcome.status, outcome.reason, outcome.failing_since = Status.DONE, "", None
            outcome.sent_by_vendor = self.sent_by_vendor
        else:
            # A waiting item is woken by new keys, a new source or a person.
            outcome.status = Status.FAILED if self.errors and not self.shortages else Status.WAITING
            outcome.reason = self.reason

    def notify(self) -> None:
        """Notify the merchant if the outcome needs a person."""
        if self.is_complete:
            return
        for source, _ in self.failed:
            source.notify_merchant(self.fulfillment.item) if source else notify_item(self.fulfillment.item)
        if not self.failed and not self.shortages:
            notify_item(self.fulfillment.item)

    def put_off(self) -> None:
        """Schedule the next attempt."""
        fulfillment = self.fulfillment
        if self.not_asked:
            fulfillment.wait(self.reason, min(error.pause for error in self.not_asked))
            if any(isinstance(error, LicenseAwaited) for error in self.not_asked):
                transaction.on_commit(partial(_wake_if_ready, fulfillment), robust=True)
            return
        pause = max(error.pause for error in self.errors if not error.permanent)
        failing_since = fulfillment.failing_since or Now()
        fulfillment.postpone(
            self.reason, at_least=pause, status=Fulfillment.Status.WAITING, failing_since=failing_since
        )


def _ask_immediate_sources(fulfillments: Sequence[Fulfillment], missing: Mapping[int, list[int]]) -> list[Attempt]:
    """Ask the sources of items for their missing units until one isn't immediate, and save codes and outcomes.

    All first sources are asked together, then the second sources of the items that still need codes, and so on. The
    caller holds the orders' locks. Fulfillments may be new.
    """
    methods = FulfillmentMethod.objects.for_products(fulfillment.item.product for fulfillment in fulfillments)
    attempts = [
        Attempt(
            fulfillment,
            sources=_sources(methods[fulfillment.item.product_id], fulfillment.item.order),
            missing=missing[fulfillment.item_id],
            is_complete=not missing[fulfillment.item_id],
        )
        for fulfillment in fulfillments
    ]
    asking = attempts
    while asking := [attempt for attempt in asking if not attempt.is_complete and attempt.ask_next()]:
        requests: dict[type[Source], list[CodeRequest]] = defaultdict(list)
        for attempt in asking:
            requests[type(attempt.request.source)].append(attempt.request)
        for kind, group in requests.items():
            kind.issue_all(group)
        for attempt in asking:
            attempt.take(attempt.request)

    for attempt in attempts:
        if attempt.is_complete or attempt.is_over and not attempt.needs_worker:
            attempt.end()
    rows = [attempt.fulfillment for attempt in attempts if attempt.has_ended or attempt.fulfillment.pk is None]
    save([code for attempt in attempts for code in attempt.codes], rows)
    for attempt in attempts:
        if attempt.has_ended:
            attempt.notify()
            continue
        if attempt.codes:
            _note_progress(attempt.fulfillment)
        if attempt.needs_worker:
            nudge = partial(publish, Fulfillment.TASK, attempt.fulfillment.pk, queue=CALLOUTS)
            transaction.on_commit(nudge, robust=True)
        else:
            attempt.put_off()
    return attempts


def top_up(fulfillment: Fulfillment) -> bool:
    """Ask the product's sources in turn for the item's missing codes and save them.

    Repeating this never issues more codes than the item needs. Return False if a source was busy and should be asked
    again soon.
    """
    try:
        return _ask_sources(fulfillment)
    except OrderNotPaid as problem:
        fulfillment.end(reason=str(problem))
        return True


def _ask_sources(fulfillment: Fulfillment) -> bool:
    methods = FulfillmentMethod.objects.for_product(fulfillment.item.product)
    attempt = Attempt(fulfillment, sources=_sources(methods, fulfillment.item.order))
    while source := next(attempt.sources, None):
        _collect(attempt, source)
        if attempt.is_complete:
            return True
    _record_shortage(attempt)
    return not any(isinstance(error, SourceBusy) for error in attempt.errors)


def _sources(methods: Sequence[FulfillmentMethod], order: Order) -> Iterator[Source]:
    return (method.kind.for_order(order) for method in methods)


def _collect(attempt: Attempt, source: Source) -> None:
    """Get missing codes from one source and save them."""
    fulfillment = attempt.fulfillment
    item = fulfillment.item
    request = CodeRequest(source, item, [], fulfillment.attempts)
    if not source.immediate:
        _check_paid(item.order)
        check_held(item.order)
        _issue(request)
    with transaction.atomic():
        lock_paid(item.order)
        check_held(item.order)
        if source.immediate:
            _issue(request)
        # Another worker may have saved some of them in between.
        attempt.missing = item.missing_units()
        request.codes = {unit: code for unit, code in request.codes.items() if unit in attempt.missing}
        attempt.take(request)
        if attempt.is_complete:
            attempt.end()
        save(attempt.codes, [fulfillment] if attempt.is_complete else [])
        if attempt.is_complete:
            wake_renewals(item)
        elif attempt.codes:
            _note_progress(fulfillment)
        attempt.codes = []


def _issue(request: CodeRequest) -> None:
    request.units = request.item.missing_units()
    if request.units:
        type(request.source).issue_all([request])


def lock_paid(order: Order) -> None:
    """Lock the order, which serializes saving codes, refunds and resends. Raises OrderNotPaid."""
    fields = ["status", "held_until", "email"]
    order.refresh_from_db(fields=fields, from_queryset=Order.objects.select_for_update(no_key=True))
    _check_paid(order)


def _check_paid(order: Order) -> None:
    if order.status != Order.Status.PAID:
        raise OrderNotPaid(gettext("The order is {status}.").format(status=gettext(order.status)))


def check_held(order: Order) -> None:
    """Raise OrderHeld if the order is being checked for fraud."""
    if order.held_until and order.held_until > database_now():
        raise OrderHeld(order.held_until)


def save_codes(
    fulfillment: Fulfillment, codes: dict[int, str], missing: list[int], *, source: str, actor: str = ""
) -> None:
    """Save codes that a person entered or took, for missing units. The caller holds the order's lock."""
    item = fulfillment.item
    new = [NewCode(item, unit, codes[unit], source, actor) for unit in missing if unit in codes]
    attempt = Attempt(fulfillment, is_complete=len(new) == len(missing))
    if attempt.is_complete:
        attempt.end()
    save(new, [fulfillment] if attempt.is_complete else [])
    if attempt.is_complete:
        wake_renewals(item)
    elif new:
        _note_progress(fulfillment)


def _note_progress(fulfillment: Fulfillment) -> None:
    """Progress resets the one-day deadline."""
    if fulfillment.failing_since:
        fulfillment.failing_since = None
        fulfillment.save(update_fields=["failing_since"])


def _record_shortage(attempt: Attempt) -> None:
    fulfillment = attempt.fulfillment
    with transaction.atomic():
        lock_paid(fulfillment.item.order)
        # A person or another worker may have saved them in between.
        attempt.is_complete = not fulfillment.item.missing_units()
        if attempt.is_complete or attempt.is_over:
            attempt.end()
            save([], [fulfillment])
            attempt.notify()
        else:
            attempt.put_off()
        if attempt.is_complete:
            wake_renewals(fulfillment.item)


def wake_renewals(*items: OrderItem) -> None:
    """Recheck renewals that may be waiting for these items' licenses or for their order to be reported.

    This happens after the commit, so that they see it and no payment waits for another order's lock.
    """
    renewable = [item for item in items if item.subscription_id]
    if renewable:
        transaction.on_commit(partial(_wake_renewals, renewable), robust=True)


def _wake_renewals(items: Sequence[OrderItem]) -> None:
    renewals = Fulfillment.objects.waiting().filter(item__subscription__in={item.subscription_id for item in items})
    others = renewals.exclude(item__in=[item.pk for item in items])
    pks = list(others.order_by("item__order__paid_at", "pk").values_list("pk", flat=True))
    if pks:
        Fulfillment.objects.filter(pk__in=pks, status=Fulfillment.Status.WAITING).wake()
        # Most of the others wait for this one. The sweep finds them.
        publish(Fulfillment.TASK, pks[0], queue=CALLOUTS)


def _wake_if_ready(fulfillment: Fulfillment) -> None:
    """Wake a renewal whose license arrived after it looked and before its wait was recorded.

    Each side commits before it looks for the other, so at least one of them sees the other.
    """
    if find_wait(fulfillment.item) is None:
        Fulfillment.objects.filter(pk=fulfillment.pk, status=Fulfillment.Status.WAITING).wake()
        fulfillment.nudge()
