from fulfillment.models.attention import DealtWith
from fulfillment.models.fulfillments import Fulfillment, FulfillmentMethod, FulfillmentQuerySet, HeldCode
from fulfillment.models.setup_requests import SetupEvent, SetupRequest, SetupRequestPart

__all__ = [
    "DealtWith",
    "Fulfillment",
    "FulfillmentMethod",
    "FulfillmentQuerySet",
    "HeldCode",
    "SetupEvent",
    "SetupRequest",
    "SetupRequestPart",
]
