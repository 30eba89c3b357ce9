from fulfillment.sources.base import Source
from pools.allocation import allocate_keys


class PoolSource(Source):
    immediate = True

    def issue(self, item, units):
        assert self.method.pool is not None  # noqa: S101 (a constraint of the database)
        keys = allocate_keys(self.method.pool, item, units)
        return {unit: key.code for unit, key in keys.items()}

    def shortage(self):
        return f"The pool “{self.method.pool}” has no keys left."
