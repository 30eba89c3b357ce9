from fulfillment.sources.apps import SourceConfig


class PoolConfig(SourceConfig):
    default = True
    name = "fulfillment.sources.pool"
    label = "pool_source"
    source = "PoolSource"
