from django.db import models

from fulfillment.models import FulfillmentMethod
from pools.models import LicensePool


class PoolMethod(FulfillmentMethod):
    SOURCE, PLACE = "pool", "pool"

    pool = models.ForeignKey(LicensePool, models.PROTECT, related_name="fulfillment_methods")
