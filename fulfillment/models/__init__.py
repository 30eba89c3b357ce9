from fulfillment.models.callouts import Callout
from fulfillment.models.deliveries import DeliveredCode, Delivery
from fulfillment.models.fulfillments import Fulfillment, FulfillmentMethod, FulfillmentQuerySet
from fulfillment.models.notices import MerchantNotice
from fulfillment.models.retryable import LEASE, Retryable, RetryableQuerySet, publish

__all__ = [
    "LEASE",
    "Callout",
    "DeliveredCode",
    "Delivery",
    "Fulfillment",
    "FulfillmentMethod",
    "FulfillmentQuerySet",
    "MerchantNotice",
    "Retryable",
    "RetryableQuerySet",
    "publish",
]
