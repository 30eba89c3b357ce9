"""A product's chain of sources: the first is asked for codes, and for what it lacks the next in line."""

from typing import Any

from django.db import transaction
from django.db.models import Max

from fulfillment.models import Fulfillment, FulfillmentMethod
from merchants.models import Product
from orders.kinds import SOURCES
from outbound.models import Upstream
from pools.models import LicensePool
from work.models import publish
from work.refusals import Refused


class SourceChangeRefused(Refused):
    """A chain cannot be changed like this."""

    code = "chain_refused"


@transaction.atomic
def add_source(product: Product, source: str, place: Any = None) -> FulfillmentMethod:
    """Have one more source of this kind asked, after all others, for codes from this place, if it takes them from one.

    It serves at once what waits. Raises SourceChangeRefused.
    """
    methods = _lock(product)
    method = SOURCES[source].make_method(product, place)
    if method.kind.key in {used.kind.key for used in methods.with_places()}:
        raise SourceChangeRefused("This source is in the chain already.")
    method.position = (methods.aggregate(last=Max("position"))["last"] or 0) + 1
    method.save()
    wake_waiting(product)
    return method


@transaction.atomic
def move_up(method: FulfillmentMethod) -> None:
    """Have a source asked before the one that stands before it; the first stays where it is."""
    methods = _lock(method.product)
    method.refresh_from_db(fields=["position"])
    before = methods.filter(position__lt=method.position).last()
    if before is None:
        return
    for moved, position in ((method, before.position), (before, method.position)):
        methods.filter(pk=moved.pk).update(position=position)


@transaction.atomic
def remove_source(method: FulfillmentMethod) -> None:
    _lock(method.product)
    method.delete()


@transaction.atomic
def remove_place(place: Any) -> None:
    """Delete what products take codes from, such as a server, unless one does. Raises SourceChangeRefused."""
    # Nobody adds it to a product meanwhile: that locks what a row refers to.
    place = type(place)._default_manager.select_for_update().get(pk=place.pk)
    users = Product.objects.filter(fulfillment_methods__in=place.fulfillment_methods.all())
    if names := [f"“{product.name}”" for product in users.order_by("name").distinct()[:4]]:
        more = " and more" if len(names) > 3 else ""
        raise SourceChangeRefused(f"“{place}” is a source of {', '.join(names[:3])}{more}. Remove it there first.")
    waiting = isinstance(place, Upstream) and Fulfillment.objects.of_upstream(place).unfinished().count()
    if waiting:
        raise SourceChangeRefused(
            f"Customers still wait for codes from “{place}”: {waiting:,} of the items that were paid, of products"
            " without a source of their own. Give these products one first."
        )
    place.delete()


def _lock(product: Product):
    # Serializes changes of the chain with each other. Payments do not wait for it.
    Product.objects.select_for_update(no_key=True).get(pk=product.pk)
    return product.fulfillment_methods.order_by("position")


def wake_waiting(product: Product) -> None:
    """Have items of the product that wait ask its sources again, as soon as this is committed.

    Those that a pool can serve are served oldest payment first. Otherwise each comes due, and the sweep has the oldest
    payments done first.
    """
    pools = LicensePool.objects.filter(fulfillment_methods__product=product).distinct()
    stocked = [pool for pool in pools if pool.available_up_to(1)]
    for pool in stocked:
        transaction.on_commit(lambda pool=pool: publish("fulfillment.tasks.serve_pool", pool.pk), robust=True)  # type: ignore[misc]
    if not stocked:
        Fulfillment.objects.waiting().filter(item__product=product).wake()
