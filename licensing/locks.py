"""Row locks of the licensing service. Lock order: a product, its licensees by pk, their licenses by pk."""

from django.db import models

from licensing.models import License, Licensee, LicenseTemplate, LicensingProduct, ProductModule


def block_deletion(thing: models.Model) -> None:
    """Keep the product, and everything in it, from being deleted until the transaction ends.

    Foreign keys are deferred: without this lock, a concurrent delete would only fail the transaction at its end.
    """
    list(
        LicensingProduct.objects.raw(
            "SELECT id FROM licensing_licensingproduct WHERE id = %s FOR KEY SHARE", [_product_id(thing)]
        )
    )


def lock_to_delete(thing: models.Model) -> None:
    """Wait for transactions that called `block_deletion`, and make new ones wait until this transaction ends."""
    if product := _product_id(thing):
        LicensingProduct.objects.select_for_update().filter(pk=product).first()
    if isinstance(thing, LicensingProduct | Licensee):
        doomed = thing.licensees.all() if isinstance(thing, LicensingProduct) else Licensee.objects.filter(pk=thing.pk)
        list(doomed.select_for_update().order_by("pk").values_list("pk"))


def _product_id(thing: models.Model) -> int | None:
    match thing:
        case LicensingProduct():
            return thing.pk
        case ProductModule() | Licensee():
            return thing.product_id
        case LicenseTemplate():
            return thing.module.product_id
        case License():
            return thing.licensee.product_id
    return None
