"""Held codes look unlike a server's earlier ones. A person releases or rejects them."""

from contextlib import suppress

from django.db import transaction
from django.utils.translation import gettext_lazy as _

from fulfillment.actions import CodeRefused, RetryRefused, enter_codes, retry
from fulfillment.models import HeldCode
from orders.kinds import SOURCES
from orders.models import Order, OrderEvent

ALREADY_DECIDED = _("This code was already released or rejected.")


@transaction.atomic
def release(held: HeldCode, *, actor: str) -> None:
    """Save a held code and send it. Codes that look like it are no longer held. Raises CodeRefused."""
    enter_codes(held.item, {held.unit: held.code}, actor=actor, source=held.source)
    _decide(held, OrderEvent.Kind.CODE_RELEASED, actor)
    SOURCES[held.source].accept(held)
    _resume(held, actor)


@transaction.atomic
def refuse(held: HeldCode, *, actor: str) -> None:
    """Discard a held code and ask the server again, with the same request ID. Raises CodeRefused.

    The server isn't asked while another code of the item is held.
    """
    # Serializes this with a release.
    Order.objects.select_for_update(no_key=True).get(pk=held.item.order_id)
    _decide(held, OrderEvent.Kind.CODE_REFUSED, actor)
    _resume(held, actor)


def _decide(held: HeldCode, kind: OrderEvent.Kind, actor: str) -> None:
    if not HeldCode.objects.filter(pk=held.pk).delete()[0]:
        raise CodeRefused(ALREADY_DECIDED)
    details = {"unit": held.unit}
    OrderEvent.objects.create(order=held.item.order, kind=kind, item=held.item, details=details, happened_by=actor)


def _resume(held: HeldCode, actor: str) -> None:
    """Ask for the item's missing codes, unless another of its codes is held."""
    if not HeldCode.objects.filter(item=held.item).exists():
        # The item may be complete, or the order refunded.
        with suppress(RetryRefused):
            retry(held.item, actor=actor)
