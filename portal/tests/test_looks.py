import pytest
from django.utils.safestring import mark_safe

from delivery.models import Delivery, TrackingEvent
from fulfillment.models import Fulfillment, SetupEvent, SetupRequest
from fulfillment.sources.netlicensing.models import Deactivation
from fulfillment.sources.web_service.models import WebService
from licensing.models import LicenseeEvent
from orders.models import Order, OrderEvent
from outbound.models import OutgoingRequest
from pools.models import KeyImport, KeyMovement
from portal.pools.stock import EMPTY, HEALTHY, LOW, NEW
from portal.templatetags.portal import EVENTS, badge, breakable, event_icon
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


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("ada@example.com", "ada@example.com"),
        ("to ada.byron.of.ockham@example.co", "to ada.<wbr>byron.<wbr>of.<wbr>ockham@<wbr>example.<wbr>co"),
        ("https://keys.vendor.example/v1", "https://<wbr>keys.<wbr>vendor.<wbr>example/<wbr>v1"),
        ("EUR 59.98, <b>", "EUR 59.98, &lt;b&gt;"),
        (mark_safe('<a href="/a.b/c@d.e/long/long/long/">x</a>'), '<a href="/a.b/c@d.e/long/long/long/">x</a>'),
    ],
)
def test_only_long_addresses_may_break(text, html):
    assert breakable(text) == html
