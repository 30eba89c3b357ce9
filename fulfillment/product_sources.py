"""A product's sources, asked in order: codes that one can't supply are requested from the next."""

from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext

from fulfillment.models import Fulfillment, FulfillmentMethod
from merchants.models import Product
from orders.kinds import SOURCES
from outbound.models import Upstream
from pools.models import LicensePool
from work.models import publish
from work.refusals import Refused


class SourceChangeRefused(Refused):
    """The product's sources can't be changed like this."""

    code = "chain_refused"


@transaction.atomic
def add_source(product: Product, source: str, place: Any = None) -> FulfillmentMethod:
    """Append a source of this kind to the product's sources and let it serve waiting items.

    `place` is what it takes codes from, such as a pool. Raises SourceChangeRefused if the product already has it.
    """
    methods = _lock(product)
    method = SOURCES[source].make_method(product, place)
    if method.kind.key in {used.kind.key for used in methods.with_places()}:
        raise SourceChangeRefused(gettext("The product already has this source."))
    method.position = (methods.aggregate(last=Max("position"))["last"] or 0) + 1
    method.save()
    wake_waiting(product)
    return method


@transaction.atomic
def move_up(method: FulfillmentMethod) -> None:
    """Swap a source with the one before it. The first stays where it is."""
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
    """Delete a place that codes come from, such as a server. Raises SourceChangeRefused if it is in use."""
    # Blocks adding it to a product in the meantime, since inserting a foreign key locks the referenced row.
    place = type(place)._default_manager.select_for_update().get(pk=place.pk)
    users = Product.objects.filter(fulfillment_methods__in=place.fulfillment_methods.all())
    if names := [f"“{product.name}”" for product in users.order_by("name").distinct()[:4]]:
        text = gettext("“{place}” is a source of {names}. Remove it there first.")
        if len(names) > 3:
            text = gettext("“{place}” is a source of {names} and more. Remove it there first.")
        raise SourceChangeRefused(text.format(place=place, names=", ".join(names[:3])))
    waiting = isinstance(place, Upstream) and Fulfillment.objects.for_upstream(place).unfinished().count()
    if waiting:
        raise SourceChangeRefused(
            gettext(
                "Customers still wait for codes from “{place}” for products without a source of their own"
                " (paid items: {waiting}). Add a source to these products first."
            ).format(place=place, waiting=intcomma(waiting))
        )
    place.delete()


def _lock(product: Product):
    # Serializes changes to the product's sources. Payments don't wait for this lock.
    Product.objects.select_for_update(no_key=True).get(pk=product.pk)
    return product.fulfillment_methods.order_by("position")


def wake_waiting(product: Product) -> None:
    """Make the product's waiting items ask its sources again after the commit, oldest payment first.

    Pools with keys serve them. If there is none, the items become due and the sweep picks them up.
    """
    pools = LicensePool.objects.filter(fulfillment_methods__product=product).distinct()
    stocked = [pool for pool in pools if pool.available_up_to(1)]
    for pool in stocked:
        transaction.on_commit(lambda pool=pool: publish("fulfillment.tasks.serve_pool", pool.pk), robust=True)  # type: ignore[misc]
    if not stocked:
        Fulfillment.objects.waiting().filter(item__product=product).wake()
