"""Where activation codes come from: one module a source, and this list of them."""

from fulfillment.models import FulfillmentMethod
from fulfillment.sources.base import Source, SourceError
from fulfillment.sources.manual import ManualSource
from fulfillment.sources.pool import PoolSource

SOURCES: dict[str, type[Source]] = {
    FulfillmentMethod.Source.POOL: PoolSource,
    FulfillmentMethod.Source.MANUAL: ManualSource,
}

__all__ = ["SOURCES", "Source", "SourceError", "get_source"]


def get_source(method: FulfillmentMethod) -> Source:
    return SOURCES[method.source](method)
