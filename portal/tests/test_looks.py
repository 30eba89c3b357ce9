import pytest

from delivery.models import Delivery, TrackingEvent
from fulfillment.models import Fulfillment, SetupEvent, SetupRequest
from fulfillment.sources.netlicensing.models import Deactivation
from fulfillment.sources.web_service.models import WebService
from licensing.models import LicenseeEvent
from orders.models import Order, OrderEvent
from outbound.models import OutgoingRequest
from pools.models import KeyImport, KeyMovement
from portal.pools.stock import EMPTY, HEALTHY, LOW, NEW
from portal.templatetags.portal import EVENTS, badge, event_icon
from shops.models import Connection, Event
from webhooks.models import WebhookEndpoint, WebhookMessage

STATES = [
    *Order.Status.values,
    *Fulfillment.Status.values,
    *Delivery.Status.values,
    *WebhookEndpoint.State.values,
    *WebhookMessage.Status.values,
    *WebService.State.values,
    *Deactivation.Status.values,
    *OutgoingRequest.Outcome.values,
    EMPTY,
    LOW,
    HEALTHY,
    NEW,
    *KeyMovement.Place.values[1:],
    *KeyImport.Status.values,
    *SetupRequest.Status.values,
    *Connection.State.values,
    *Event.State.values,
    *("active", "inactive", "marked", "revoked", "expired", "valid", "not valid", "warning"),
    "none",
    "deferred",
    "undone",
    "held",
]


@pytest.mark.parametrize("state", STATES)
def test_every_state_has_a_badge_with_a_word_and_an_icon(state):
    assert state in badge(state) and "<svg" in badge(state)


@pytest.mark.parametrize(
    "kind",
    [
        *EVENTS,
        *OrderEvent.Kind.values,
        *SetupEvent.Kind.values,
        *TrackingEvent.STATUSES.values(),
        *LicenseeEvent.Kind.values,
    ],
)
def test_every_kind_of_event_has_an_icon(kind):
    assert "<svg" in event_icon(kind)
