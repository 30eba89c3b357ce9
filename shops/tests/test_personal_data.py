"""A customer's data is also found and erased in what shops reported."""

import json

import pytest

from fulfillment.personal_data import PersonalData
from shops.models import Event
from shops.processing import wake
from shops.tests.factories import process_due
from shops.tests.senders import make_order

pytestmark = pytest.mark.django_db


def test_events_of_orders_and_parked_ones_are_exported_and_erased(send, shop, make_product):
    send(shop, make_order(id=1, number="1"))  # parked: the product is unknown
    make_product(sku="PHOTO-PRO")
    send(shop, make_order(id=2, number="2"))
    send(shop, make_order(id=3, number="3", billing={"email": "bob@example.com"}))
    held = PersonalData("ADA@example.com")
    assert held.count()["events of shops"] == 2
    assert "Ada" in json.dumps(held.export(), default=str)

    held.erase(actor="Stella")

    assert PersonalData("ada@example.com").count() == {}
    assert [bool(event.body) for event in Event.objects.order_by("pk")] == [False, False, True]
    assert Event.objects.due().count() == 0


def test_erased_events_stay_as_they_are_when_processed_again(send, shop, make_product):
    make_product(sku="PHOTO-PRO")
    send(shop, make_order(id=1, number="1"))
    send(shop, make_order(id=2, number="2", status="pending"))
    PersonalData("ada@example.com").erase(actor="Stella")

    wake(Event.objects.all())
    process_due()

    assert list(Event.objects.order_by("pk").values_list("state", flat=True)) == ["done", "ignored"]
