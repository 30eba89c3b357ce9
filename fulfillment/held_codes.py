"""Codes that look different from a server's earlier ones: a person releases or refuses them."""

from contextlib import suppress

from django.db import transaction

from fulfillment.actions import CodeRefused, RetryRefused, enter_codes, retry
from fulfillment.models import HeldCode
from orders.kinds import SOURCES
from orders.models import Order, OrderEvent

DECIDED = "Somebody has released or refused this code already."


@transaction.atomic
def release(held: HeldCode, *, actor: str) -> None:
    """Save a held code and e-mail it. Codes like it are not held again. Raises CodeRefused."""
    enter_codes(held.item, {held.unit: held.code}, actor=actor, source=held.source)
    _decide(held, OrderEvent.Kind.CODE_RELEASED, actor)
    SOURCES[held.source].accept(held)
    _go_on(held, actor)


@transaction.atomic
def refuse(held: HeldCode, *, actor: str) -> None:
    """Discard a held code, and ask the server again with the same request id. Raises CodeRefused.

    If another code of the item is held, that one is decided first.
    """
    # Serializes this with a release.
    Order.objects.select_for_update(no_key=True).get(pk=held.item.order_id)
    _decide(held, OrderEvent.Kind.CODE_REFUSED, actor)
    _go_on(held, actor)


def _decide(held: HeldCode, kind: OrderEvent.Kind, actor: str) -> None:
    if not HeldCode.objects.filter(pk=held.pk).delete()[0]:
        raise CodeRefused(DECIDED)
    details = {"unit": held.unit}
    OrderEvent.objects.create(order=held.item.order, kind=kind, item=held.item, details=details, happened_by=actor)


def _go_on(held: HeldCode, actor: str) -> None:
    """Ask for what the item still lacks, unless another of its codes is held."""
    if not HeldCode.objects.filter(item=held.item).exists():
        # All units may have their codes by now, or the order may be refunded.
        with suppress(RetryRefused):
            retry(held.item, actor=actor)
