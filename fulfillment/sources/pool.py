from fulfillment.sources.base import Source, SourceError
from pools.allocation import allocate_keys


class PoolSource(Source):
    immediate = True

    def issue(self, item, units, *, attempt):
        pool = self.method.pool
        if pool is None or pool.merchant_id != item.order.merchant_id:
            raise SourceError(f"The pool “{pool}” belongs to another merchant.", permanent=True)
        keys = allocate_keys(pool, item, units)
        return [(unit, key.code) for unit, key in keys.items()]

    def shortage(self):
        return f"The pool “{self.method.pool}” has no keys left."
