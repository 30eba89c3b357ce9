from fulfillment.sources.apps import SourceConfig


class ManualConfig(SourceConfig):
    default = True
    name = "fulfillment.sources.manual"
    label = "manual_source"
    source = "ManualSource"
