"""Provider events that arrive before the delivery is saved as sent."""

import pytest

from delivery.models import Delivery, TrackingEvent
from delivery.sending import deliver
from delivery.tests.provider_events import MESSAGE_ID, payload, post

pytestmark = pytest.mark.usefixtures("secrets", "amazon")


def test_events_may_arrive_before_the_delivery_is_saved_as_sent(pay, product, monkeypatch, mailoutbox):
    pay(product)
    for kind in ("opened", "delivered"):
        assert post("postmark", payload("postmark", kind)).status_code == 200
    monkeypatch.setattr("delivery.resending.make_message_id", lambda: "<another>")
    Delivery.objects.update(message_id=f"<{MESSAGE_ID}>")

    deliver(Delivery.objects.get().pk)

    assert Delivery.objects.get().status == "opened"
    assert not TrackingEvent.objects.filter(delivery=None).exists()


def test_an_event_for_a_queued_delivery_applies_once_it_is_sent(pay, product):
    pay(product)
    Delivery.objects.update(message_id=MESSAGE_ID)
    post("postmark", payload("postmark", "bounced"))
    assert Delivery.objects.get().status == "queued"

    deliver(Delivery.objects.get().pk)

    assert Delivery.objects.get().status == "bounced"
