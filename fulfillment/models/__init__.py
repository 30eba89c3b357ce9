from fulfillment.models.fulfillments import Fulfillment, FulfillmentMethod, FulfillmentQuerySet, HeldCode
from fulfillment.models.setup_requests import SetupEvent, SetupRequest, SetupRequestPart

__all__ = [
    "Fulfillment",
    "FulfillmentMethod",
    "FulfillmentQuerySet",
    "HeldCode",
    "SetupEvent",
    "SetupRequest",
    "SetupRequestPart",
]
