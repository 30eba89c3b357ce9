from fulfillment.models.fulfillments import Fulfillment, FulfillmentMethod, FulfillmentQuerySet
from fulfillment.models.setup_requests import SetupEvent, SetupRequest, SetupRequestPart

__all__ = [
    "Fulfillment",
    "FulfillmentMethod",
    "FulfillmentQuerySet",
    "SetupEvent",
    "SetupRequest",
    "SetupRequestPart",
]
