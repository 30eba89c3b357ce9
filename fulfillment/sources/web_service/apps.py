from fulfillment.sources.apps import SourceConfig


class WebServiceConfig(SourceConfig):
    default = True
    name = "fulfillment.sources.web_service"
    source = "WebServiceSource"
