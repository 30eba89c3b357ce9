"""One attempt at an event: translate it, and apply it to orders."""

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Now

from shops import samples
from shops.changes import Cause, Change, Irrelevant, Parked
from shops.kinds import KINDS
from shops.kinds.base import Malformed
from shops.models import MAX_ID, Connection, Event, ExternalProduct
from shops.sales import Outcome, UnmappedProducts, apply, find_order, names_of, note_products
from work import sql
from work.attempts import Policy

State = Event.State
# Woken events that are queued at once. The sweep finds the others.
MAX_NUDGED = 100
# Of reports of a sale that nobody needs once another one has become an order.
SUPERSEDED = {Cause.UNPAID, Cause.NO_ADDRESS}


FORGOTTEN = """
    SELECT event.id FROM shops_event event
    WHERE state = 'parked' AND cause = 'no_sale' AND due_at IS NULL AND EXISTS (
        SELECT FROM shops_salereference known
        WHERE known.connection_id = event.connection_id AND known.reference = ANY(event.waits_for)
    )
    ORDER BY event.id LIMIT 100
"""


class EventPolicy(Policy[Event]):
    model = Event
    related = ("connection__merchant", "connection__checkout_page")

    def get_request_id(self, event):
        return event.shop_request_id

    def attempt(self, event):
        if event.state != State.RECEIVED and not event.body:
            event.end()  # its data was erased meanwhile
            return
        try:
            # May ask the shop's API, so not in a transaction.
            changes = list(translate(event))
            outcome = apply(event, changes)
        except Irrelevant as reason:
            event.end(state=State.IGNORED, cause="", waits_for=[], reason=str(reason)[:500])
        except Parked as problem:
            park(event, problem)
        except Malformed as problem:
            park(event, Parked(Cause.INVALID, str(problem)))
        else:
            finish(event, outcome)

    def give_up(self, event, failure):
        event.end(state=State.FAILED, reason=str(failure)[:500])


process = EventPolicy().run


def translate(event: Event) -> Iterable[Change]:
    if event.is_sample:
        return samples.translate(event)
    return KINDS[event.connection.kind](event.connection).translate(event)


def finish(event: Event, outcome: Outcome) -> None:
    """Record what became of an event, and wake those that waited for it."""
    fields: dict[str, Any] = {"order": outcome.order}
    if outcome.unmapped:
        # The order has its other licenses.
        problem = UnmappedProducts(outcome.unmapped)
        fields |= {
            "state": State.PARKED,
            "cause": problem.cause,
            "reason": str(problem),
            "waits_for": _names(problem),
        }
        note_products(event.connection, outcome.unmapped)
    else:
        fields |= {"state": State.DONE, "cause": "", "reason": "", "waits_for": []}
    if outcome.order:
        # First: if this worker dies in between, the event is processed again.
        names = list(outcome.order.sale_references.values_list("reference", flat=True))
        for cause in (Cause.NO_SALE, *SUPERSEDED):
            wake(waiting(event.connection, cause, names))
    event.end(**fields)
    _wake_if_decided(event)


def park(event: Event, problem: Parked) -> None:
    """Keep an event for later. Nothing about it is lost."""
    if isinstance(problem, UnmappedProducts):
        note_products(event.connection, problem.products)
    names = names_of(event, problem.waits_for) if problem.cause in SUPERSEDED else _names(problem)
    if problem.cause == Cause.UNPAID and (order := find_order(event.connection, names)):
        event.end(state=State.DONE, cause="", reason="", waits_for=[], order=order)
        return
    event.end(state=State.PARKED, cause=problem.cause, reason=str(problem)[:500], waits_for=names)
    # What it waits for may have come in the meantime. Each side commits before it looks for the other.
    if problem.cause in {Cause.NO_SALE, *SUPERSEDED} and find_order(event.connection, names):
        wake(Event.objects.filter(pk=event.pk))
    _wake_if_decided(event)


def _names(problem: Parked) -> list[str]:
    return [name[:MAX_ID] for name in problem.waits_for]


def _wake_if_decided(event: Event) -> None:
    """Wake an event if a person mapped one of its products after it was translated."""
    if event.cause == Cause.UNMAPPED:
        products = ExternalProduct.objects.filter(connection=event.connection, external_id__in=event.waits_for)
        if products.decided().exists():
            wake(Event.objects.filter(pk=event.pk))


def wake_forgotten() -> None:
    """Wake parked events whose sale is known by now: a worker may have died before it woke them."""
    wake(Event.objects.filter(pk__in=[row.id for row in sql.run(FORGOTTEN)]))


def waiting(connection: Connection, cause: Cause, names: list[str]) -> QuerySet[Event]:
    """Parked events that wait for one of these products or sales."""
    return Event.objects.filter(connection=connection, state=State.PARKED, cause=cause, waits_for__overlap=names)


def wake(events: QuerySet[Event]) -> int:
    """Process these events again. Return their number."""
    pks = list(events.filter(due_at=None).values_list("pk", flat=True))
    Event.objects.filter(pk__in=pks).update(due_at=Now(), ended_at=None)
    for event in Event.objects.filter(pk__in=pks[:MAX_NUDGED]).defer("body"):
        event.nudge()
    return len(pks)
