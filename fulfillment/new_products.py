from typing import Any

from django.db import transaction

from fulfillment.product_sources import add_source
from merchants.models import Merchant, Product
from pools import uploads
from pools.models import KeyImport, LicensePool
from work.refusals import Refused


class KeysRefused(Refused):
    code = "keys_refused"


@transaction.atomic
def add_product(
    product: Product, *, pool: LicensePool | None, keys: dict[str, Any] | None, actor: str
) -> KeyImport | None:
    """Save a new product, its pool, which may be new, and an upload of keys.

    Imports the keys if there is nothing to check; otherwise a person reviews the upload, which is returned. `keys` are
    arguments for uploads.begin. Raises KeysRefused, and saves nothing, if the upload can't be stored.
    """
    # Imports lock the merchant before the pool.
    Merchant.objects.select_for_update(no_key=True).get(pk=product.merchant_id)
    product.save()
    if pool is None:
        return None

    if pool._state.adding:
        pool.save()
    add_source(product, "pool", pool)
    if keys is None:
        return None

    key_import = uploads.begin(pool, actor=actor, **keys)
    if key_import.status == KeyImport.Status.REFUSED and not key_import.size:
        raise KeysRefused(key_import.error)
    return uploads.confirm(key_import, actor=actor) if key_import.is_beyond_doubt else key_import
