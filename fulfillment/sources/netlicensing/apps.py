from fulfillment.sources.apps import SourceConfig


class NetLicensingConfig(SourceConfig):
    default = True
    name = "fulfillment.sources.netlicensing"
    source = "NetLicensingSource"
