"""Where activation codes come from: one module a kind, and a line in this list."""

from fulfillment.kinds import SOURCES
from fulfillment.sources.base import (
    CodeHeld,
    LicenseAwaited,
    Source,
    SourceBusy,
    SourceError,
    SourceNotReady,
)
from fulfillment.sources.manual import ManualSource
from fulfillment.sources.net_licensing import NetLicensingSource
from fulfillment.sources.pool import PoolSource
from fulfillment.sources.web_service import WebServiceSource

KINDS: list[type[Source]] = [PoolSource, WebServiceSource, NetLicensingSource, ManualSource]

SOURCES |= {kind.code: kind for kind in KINDS}

__all__ = [
    "SOURCES",
    "CodeHeld",
    "LicenseAwaited",
    "ManualSource",
    "NetLicensingSource",
    "PoolSource",
    "Source",
    "SourceBusy",
    "SourceError",
    "SourceNotReady",
    "WebServiceSource",
]
