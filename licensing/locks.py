"""In which order rows are locked: a product, its licensees by pk, their licenses by pk."""

from django.db import models

from licensing.models import License, Licensee, LicenseTemplate, LicensingProduct, ProductModule


def hold(thing: models.Model) -> None:
    """Have nothing of the thing's product deleted until the transaction ends.

    Foreign keys are looked at when it ends: until then what is added to something would not keep that.
    """
    list(
        LicensingProduct.objects.raw(
            "SELECT id FROM licensing_licensingproduct WHERE id = %s FOR KEY SHARE", [_product_of(thing)]
        )
    )


def lock_to_delete(thing: models.Model) -> None:
    """Wait for whoever holds the thing's product; from then on they wait until the transaction ends."""
    if product := _product_of(thing):
        LicensingProduct.objects.select_for_update().filter(pk=product).first()
    if isinstance(thing, LicensingProduct | Licensee):
        doomed = thing.licensees.all() if isinstance(thing, LicensingProduct) else Licensee.objects.filter(pk=thing.pk)
        list(doomed.select_for_update().order_by("pk").values_list("pk"))


def _product_of(thing: models.Model) -> int | None:
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
