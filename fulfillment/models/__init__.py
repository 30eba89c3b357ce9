from fulfillment.models.callouts import Callout
from fulfillment.models.deliveries import DeliveredCode, Delivery
from fulfillment.models.fulfillments import (
    Fulfillment,
    FulfillmentMethod,
    FulfillmentQuerySet,
    LicensePackageMethod,
    PoolMethod,
    WebServiceMethod,
)
from fulfillment.models.link_requests import LinkRequest
from fulfillment.models.mail_accounts import MailAccount
from fulfillment.models.net_licensing import (
    Deactivation,
    IssuedLicense,
    LicensePackage,
    LicensingAccount,
    PackagedTemplate,
)
from fulfillment.models.notices import MerchantNotice
from fulfillment.models.retryable import (
    CALLOUTS,
    DEFAULT,
    IMPORTS,
    LEASE,
    Retryable,
    RetryableQuerySet,
    alone,
    begin_task,
    database_now,
    publish,
)
from fulfillment.models.setup_requests import SetupEvent, SetupRequest, SetupRequestPart
from fulfillment.models.tracking import TrackingEvent
from fulfillment.models.upstreams import Upstream
from fulfillment.models.web_services import HeldCode, ReceivedCode, RequestParameter, WebService
from fulfillment.models.webhooks import TEST_EVENT, WebhookEndpoint, WebhookEvent, WebhookMessage

__all__ = [
    "CALLOUTS",
    "DEFAULT",
    "IMPORTS",
    "LEASE",
    "TEST_EVENT",
    "Callout",
    "Deactivation",
    "DeliveredCode",
    "Delivery",
    "Fulfillment",
    "FulfillmentMethod",
    "FulfillmentQuerySet",
    "HeldCode",
    "IssuedLicense",
    "LicensePackage",
    "LicensePackageMethod",
    "LicensingAccount",
    "LinkRequest",
    "MailAccount",
    "MerchantNotice",
    "PackagedTemplate",
    "PoolMethod",
    "ReceivedCode",
    "RequestParameter",
    "Retryable",
    "RetryableQuerySet",
    "SetupEvent",
    "SetupRequest",
    "SetupRequestPart",
    "TrackingEvent",
    "Upstream",
    "WebService",
    "WebServiceMethod",
    "WebhookEndpoint",
    "WebhookEvent",
    "WebhookMessage",
    "alone",
    "begin_task",
    "database_now",
    "publish",
]
