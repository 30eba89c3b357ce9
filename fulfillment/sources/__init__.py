"""Where activation codes come from: one module a source, and this list of them."""

from fulfillment.models import FulfillmentMethod
from fulfillment.sources.base import (
    CodeHeld,
    LicenseAwaited,
    Source,
    SourceBusy,
    SourceError,
    SourceNotReady,
    tell_of_item,
)
from fulfillment.sources.manual import ManualSource
from fulfillment.sources.net_licensing import NetLicensingSource
from fulfillment.sources.pool import PoolSource
from fulfillment.sources.web_service import WebServiceSource

SOURCES: dict[str, type[Source]] = {
    FulfillmentMethod.Source.POOL: PoolSource,
    FulfillmentMethod.Source.WEB_SERVICE: WebServiceSource,
    FulfillmentMethod.Source.NET_LICENSING: NetLicensingSource,
    FulfillmentMethod.Source.MANUAL: ManualSource,
}

__all__ = [
    "SOURCES",
    "CodeHeld",
    "LicenseAwaited",
    "Source",
    "SourceBusy",
    "SourceError",
    "SourceNotReady",
    "get_source",
    "tell_of_item",
]


def get_source(method: FulfillmentMethod) -> Source:
    return SOURCES[method.source](method)
