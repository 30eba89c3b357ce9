from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _

from fulfillment.sources.base import Source, SourceError
from fulfillment.sources.pool.models import PoolMethod
from pools.allocation import allocate_keys


class PoolSource(Source):
    """A pool of license keys. Each is issued once."""

    code, name, origin = "pool", _("Pool"), _("from pool")
    method_model = PoolMethod
    places = ("poolmethod__pool",)
    immediate = True
    replaces = True
    waiting_rank = 1
    waiting = gettext_noop("Out of stock at the moment.")

    @classmethod
    def choices(cls, merchant):
        return merchant.pools.order_by("name")

    def issue(self, item, units, *, attempt):
        pool = self.place
        if pool.merchant_id != item.order.merchant_id:
            raise SourceError(
                gettext("The pool “{pool}” belongs to another merchant.").format(pool=pool), permanent=True
            )
        keys = allocate_keys(pool, item, units)
        return [(unit, key.code) for unit, key in keys.items()]

    def shortage(self):
        return gettext("The pool “{place}” has no keys left.").format(place=self.place)
