"""Codes that look different from a service's earlier ones: a person releases or refuses them."""

from contextlib import suppress

from django.db import transaction

from fulfillment.services import CodeRefused, RetryRefused, enter_codes, retry
from fulfillment.sources.web_service.client import claim
from fulfillment.sources.web_service.models import HeldCode
from fulfillment.sources.web_service.parameters import mask_code
from fulfillment.sources.web_service.source import WebServiceSource
from orders.models import Order, OrderEvent
from outbound.models import Callout

DECIDED = "Somebody has released or refused this code already."


@transaction.atomic
def release(held: HeldCode, *, by: str) -> None:
    """Save a held code and e-mail it. Codes like it are not held again. Raises CodeRefused."""
    codes, problem = claim(held.service, held.item, {held.unit: held.code})
    if problem:
        raise CodeRefused(problem)
    enter_codes(held.item, codes, by=by, source=WebServiceSource.code)
    _decide(held, OrderEvent.Kind.CODE_RELEASED, by)
    held.service.remember([held.code])
    # While it was held for an error message, the log showed it.
    for callout in Callout.objects.filter(upstream=held.service, item=held.item, answer__contains=held.code):
        callout.answer = callout.answer.replace(held.code, mask_code(held.code))
        callout.save(update_fields=["answer"])
    _go_on(held, by)


@transaction.atomic
def refuse(held: HeldCode, *, by: str) -> None:
    """Discard a held code, and ask the service again with the same request id. Raises CodeRefused.

    If another code of the item is held, that one is decided first.
    """
    # Serializes this with a release.
    Order.objects.select_for_update(no_key=True).get(pk=held.item.order_id)
    _decide(held, OrderEvent.Kind.CODE_REFUSED, by)
    _go_on(held, by)


def _decide(held: HeldCode, kind: OrderEvent.Kind, by: str) -> None:
    if not HeldCode.objects.filter(pk=held.pk).delete()[0]:
        raise CodeRefused(DECIDED)
    details = {"unit": held.unit}
    OrderEvent.objects.create(order=held.item.order, kind=kind, item=held.item, details=details, happened_by=by)


def _go_on(held: HeldCode, by: str) -> None:
    """Ask for what the item still lacks, unless another of its codes is held."""
    if not HeldCode.objects.filter(item=held.item).exists():
        # All units may have their codes by now, or the order may be refunded.
        with suppress(RetryRefused):
            retry(held.item, by=by)
