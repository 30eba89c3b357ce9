"""What buyers of a shop's products get."""

from collections.abc import Mapping

from django.db import transaction

from merchants.models import Product
from shops.changes import Cause
from shops.models import Connection, ExternalProduct, ProductMapping
from shops.processing import waiting, wake


def map_product(
    connection: Connection,
    external_id: str,
    products: Mapping[Product, int],
    *,
    ignored: bool = False,
    hold_hours: int | None = None,
) -> int:
    """Save what buyers of an external product get: products of ours with the number for each unit.

    Return how many parked events are processed now.
    """
    with transaction.atomic():
        settings = {"ignored": ignored, "hold_hours": hold_hours}
        # The update locks the row, which serializes with other changes of its mappings.
        external, _ = ExternalProduct.objects.update_or_create(
            connection=connection, external_id=external_id, defaults=settings
        )
        external.mappings.all().delete()
        ProductMapping.objects.bulk_create(
            ProductMapping(external=external, product=product, multiplier=count) for product, count in products.items()
        )
    # After the commit: an event that is translated meanwhile looks for the mapping once it is parked.
    decided = bool(products) or ignored
    return wake(waiting(connection, Cause.UNMAPPED, [external_id])) if decided else 0
