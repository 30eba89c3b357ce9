import pytest

from orders.models import Order, OrderEvent
from orders.services import correct_email


@pytest.fixture
def order(pay, product):
    pay(product)
    return Order.objects.get()


def test_it_changes_the_address_and_remembers_who_did(order):
    changed = correct_email(order, "ada@byron.example", actor="Sam")

    assert changed
    order.refresh_from_db()
    assert order.email == "ada@byron.example"
    event = OrderEvent.objects.get()
    assert event.details == {"before": "ada@example.com", "after": "ada@byron.example"}
    assert (event.kind, event.happened_by) == ("address", "Sam")


def test_the_same_address_again_is_no_event(order):
    assert not correct_email(order, "ada@example.com", actor="Sam")
    assert not OrderEvent.objects.exists()


def test_a_mail_that_is_queued_goes_to_the_new_address(order, work, mailoutbox):
    correct_email(order, "ada@byron.example", actor="Sam")
    work()

    assert [message.to for message in mailoutbox] == [["ada@byron.example"]]


def test_by_api(api, order):
    response = api.put(f"/api/v1/orders/{order.number}/address/", {"email": "ada@byron.example"}, format="json")

    assert (response.status_code, response.json()["email"]) == (200, "ada@byron.example")
    assert OrderEvent.objects.get().happened_by == "API key shop-1"


def test_what_is_no_address_is_a_400_that_names_the_field(api, order):
    response = api.put(f"/api/v1/orders/{order.number}/address/", {"email": "ada@"}, format="json")

    assert response.status_code == 400
    assert response.json()["errors"][0]["pointer"] == "#/email"


def test_an_outsider_gets_a_404(make_api, outsider, order):
    theirs = make_api(outsider)

    response = theirs.put(f"/api/v1/orders/{order.number}/address/", {"email": "x@example.com"}, format="json")

    assert response.status_code == 404
