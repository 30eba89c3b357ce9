"""What people see of a web service that sends codes itself."""

import pytest
from django.urls import reverse
from django.utils import timezone

from fulfillment.models import Fulfillment
from orders.models import OrderItem
from portal.web_services.tests.conftest import PUBLIC, said


@pytest.fixture
def sent_itself(make_service, sold, pay, client):
    make_service(sold, url=PUBLIC, sends_itself=True)
    pay(sold, order="A77", quantity=2)
    Fulfillment.objects.update(status="done", sent_by_vendor=True, done_at=timezone.now(), due_at=None)
    return OrderItem.objects.get().order


def test_members_see_that_the_vendor_sends_it(page, sent_itself):
    text = said(page.get(reverse("order", args=["A77"])))

    assert "The web service sends the license directly" in text
    assert "The web service sends the code for Photo Pro itself" in text  # its history
    assert "still to come" not in text


def test_customers_see_that_the_vendor_sends_it(client, sent_itself):
    text = said(client.get(f"/o/{sent_itself.link_token}/"))

    assert "Northlight sends you this license itself." in text
    assert "still to come" not in text
    german = said(client.get(f"/o/{sent_itself.link_token}/?language=de"))
    assert "Northlight sends you" not in german and "Northlight" in german


def test_shops_are_told_that_the_vendor_sends_it(api, sent_itself):
    [item] = api.get("/api/v1/orders/A77/").json()["items"]

    assert (item["fulfillment"], item["sent_by_vendor"], item["activation_codes"]) == ("done", True, [])
