from collections import defaultdict

from django.db.models import OuterRef, Subquery
from django.db.models.functions import JSONObject
from django.utils.translation import gettext, gettext_noop, ngettext
from django.utils.translation import gettext_lazy as _

from fulfillment.sources.base import Source, SourceError, Trace
from fulfillment.sources.pool.models import PoolMethod
from pools.allocation import take_keys
from pools.models import KeyBatch, LicenseKey, LicensePool


class PoolSource(Source):
    """A pool of license keys. Each is issued once."""

    code, name, origin = "pool", _("Pool"), _("from pool")
    method_model = PoolMethod
    places = ("poolmethod__pool",)
    immediate = True
    replaces = True
    remedy = "keys"
    waiting_rank = 1
    waiting = gettext_noop("Out of stock at the moment.")

    @classmethod
    def choices(cls, merchant):
        return merchant.pools.order_by("name")

    @classmethod
    def issue_all(cls, requests):
        wanted: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for request in requests:
            place = (request.source.pool_id, request.item.order.merchant_id)
            wanted[place] += [(request.item.pk, unit) for unit in request.units]
        keys = take_keys(wanted)
        for request in requests:
            found = ((unit, keys.get((request.item.pk, unit))) for unit in request.units)
            request.codes = {unit: key.code for unit, key in found if key}
            if not request.codes and request.source.place.merchant_id != request.item.order.merchant_id:
                text = gettext("The pool “{pool}” belongs to another merchant.")
                request.problem = SourceError(text.format(pool=request.source.place), permanent=True)

    @classmethod
    def trace_annotations(cls):
        keys = LicenseKey.objects.issued().filter(item=OuterRef("item"), unit=OuterRef("unit"))
        facts = JSONObject(pool="pool_id", name="pool__name", batch="batch_id")
        return {"license_key": Subquery(keys.values(facts=facts)[:1])}

    @classmethod
    def trace(cls, codes):
        return {code.pk: cls._trace(**code.license_key) for code in codes if code.license_key}

    @staticmethod
    def _trace(pool: int, name: str, batch: int) -> list[Trace]:
        text = gettext("batch {number}").format(number=batch)
        return [Trace(LicensePool(pk=pool, name=name), name), Trace(KeyBatch(pk=batch, pool_id=pool), text)]

    def for_test(self, order):
        test_pool = LicensePool.objects.in_use().filter(live=self.pool_id, merchant=order.merchant_id).first()
        return type(self)(self.make_method(self.method.product, test_pool)) if test_pool else super().for_test(order)

    @property
    def pool_id(self) -> int:
        return self.method.pool_id if isinstance(self.method, PoolMethod) else self.place.pk

    fix = (_("Add keys"), "pool-import")

    def describe_stuck(self, orders):
        return ngettext("{pool} is empty: {count:,} order", "{pool} is empty: {count:,} orders", orders).format(
            pool=self.place, count=orders
        )

    def shortage(self):
        return gettext("The pool “{place}” has no keys left.").format(place=self.place)
