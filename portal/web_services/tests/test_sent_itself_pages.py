"""Orders whose codes the web service sends itself: in the portal, on the order page and in the API."""

import pytest
from django.urls import reverse
from django.utils import timezone

from fulfillment.models import Fulfillment
from orders.models import OrderItem
from portal.web_services.tests.conftest import PUBLIC, page_text


@pytest.fixture
def order_sent_by_vendor(make_service, sold, pay, client):
    make_service(sold, url=PUBLIC, sends_itself=True)
    pay(sold, order="A77", quantity=2)
    Fulfillment.objects.update(status="done", sent_by_vendor=True, done_at=timezone.now(), due_at=None)
    return OrderItem.objects.get().order


def test_members_see_that_the_vendor_sends_it(manager, order_sent_by_vendor):
    text = page_text(manager.get(reverse("order", args=["A77"])))

    assert "The web service sends the license directly" in text
    assert "The web service sends the code for Photo Pro itself" in text  # its history
    assert "still to come" not in text


def test_customers_see_that_the_vendor_sends_it(client, order_sent_by_vendor):
    text = page_text(client.get(f"/o/{order_sent_by_vendor.link_token}/"))

    assert "Northlight will send you this license directly." in text
    assert "still to come" not in text
    german = page_text(client.get(f"/o/{order_sent_by_vendor.link_token}/?language=de"))
    assert "Northlight sends you" not in german and "Northlight" in german


def test_the_api_says_that_the_vendor_sends_it(api, order_sent_by_vendor):
    [item] = api.get("/api/v1/orders/A77/").json()["items"]

    assert (item["fulfillment"], item["sent_by_vendor"], item["activation_codes"]) == ("done", True, [])
