import pytest

from orders.models import Order, OrderEvent
from orders.services import correct_email


@pytest.fixture
def order(pay, product):
    pay(product)
    return Order.objects.get()


def test_it_changes_the_address_and_records_who_did(order):
    changed = correct_email(order, "ada@byron.example", actor="Sam")

    assert changed
    order.refresh_from_db()
    assert order.email == "ada@byron.example"
    event = OrderEvent.objects.get()
    assert event.details == {"before": "ada@example.com", "after": "ada@byron.example"}
    assert (event.kind, event.happened_by) == ("address", "Sam")


def test_setting_the_same_address_records_no_event(order):
    assert not correct_email(order, "ada@example.com", actor="Sam")
    assert not OrderEvent.objects.exists()


def test_a_queued_email_goes_to_the_new_address(order, work, mailoutbox):
    correct_email(order, "ada@byron.example", actor="Sam")
    work()

    assert [message.to for message in mailoutbox] == [["ada@byron.example"]]


def test_the_api_changes_the_address(api, order):
    response = api.put(f"/api/v1/orders/{order.number}/address/", {"email": "ada@byron.example"}, format="json")

    assert (response.status_code, response.json()["email"]) == (200, "ada@byron.example")
    assert OrderEvent.objects.get().happened_by == "API key shop-1"


def test_it_rejects_an_invalid_address_with_a_400_that_names_the_field(api, order):
    response = api.put(f"/api/v1/orders/{order.number}/address/", {"email": "ada@"}, format="json")

    assert response.status_code == 400
    assert response.json()["errors"][0]["pointer"] == "#/email"


def test_an_outsider_gets_a_404(make_api, outsider, order):
    other_api = make_api(outsider)

    response = other_api.put(f"/api/v1/orders/{order.number}/address/", {"email": "x@example.com"}, format="json")

    assert response.status_code == 404
