import pytest
from django.db import transaction

from delivery import resending
from delivery.models import Delivery
from merchants.models import CheckoutPage, Merchant
from orders.models import Order, OrderItem
from orders.services import correct_email


@pytest.fixture
def resend(api, pay, product, work, mailoutbox):
    pay(product, order="A1")
    work()
    mailoutbox.clear()
    return lambda: api.post("/api/v1/orders/A1/items/1/resend/")


def test_it_sends_the_codes_again(resend, work, mailoutbox):
    response = resend()
    work()

    assert response.status_code == 202
    assert response.json()["recipient"] == "ada@example.com"
    (message,) = mailoutbox
    assert "-KEY-" in message.body
    assert Delivery.objects.get(kind="resend").requested_by == "API key shop-1"


def test_two_requests_in_a_row_send_one_email(resend, work, mailoutbox):
    first = resend().json()
    work()
    second = resend().json()
    work()

    assert second["id"] == first["id"]
    assert len(mailoutbox) == 1


def test_it_sends_no_second_email_while_the_first_is_queued(resend):
    first = resend().json()
    Delivery.objects.update(created_at="2026-01-01T00:00:00Z")

    assert resend().json()["id"] == first["id"]


def test_a_corrected_address_gets_an_email_immediately(resend, work):
    resend()
    work()
    Order.objects.update(email="ada@byron.example")

    assert resend().json()["recipient"] == "ada@byron.example"
    assert Delivery.objects.filter(kind="resend").count() == 2


def test_a_later_request_sends_another_email(resend, work, mailoutbox):
    resend()
    work()
    Delivery.objects.update(created_at="2026-01-01T00:00:00Z")
    resend()
    work()

    assert len(mailoutbox) == 2


def test_it_is_sent_to_the_current_address(resend):
    Order.objects.update(email="ada@byron.example")

    assert resend().json()["recipient"] == "ada@byron.example"


@pytest.mark.parametrize("status", ["unpaid", "deleted", "terminated"])
def test_it_rejects_an_order_that_is_not_paid(resend, status):
    Order.objects.update(status=status)

    response = resend()

    assert (response.status_code, response.json()["detail"]) == (409, f"The order is {status}, not paid.")


def test_it_rejects_an_order_from_a_checkout_page_without_delivery(resend):
    CheckoutPage.objects.update(delivery_allowed=False)

    response = resend()

    assert response.status_code == 409 and "isn’t allowed for the checkout page “main”" in response.json()["detail"]


def test_it_rejects_an_item_without_codes(api, pay, make_product):
    pay(make_product(keys=0), order="A1")

    response = api.post("/api/v1/orders/A1/items/1/resend/")

    assert response.status_code == 409 and "There are no activation codes yet" in response.json()["detail"]


def test_an_unknown_item_is_a_404(api, pay, product):
    pay(product, order="A1")

    assert api.post("/api/v1/orders/A1/items/2/resend/").status_code == 404


def test_an_outsider_gets_a_404(resend, make_api, outsider):
    assert make_api(outsider).post("/api/v1/orders/A1/items/1/resend/").status_code == 404
    assert not Delivery.objects.filter(kind="resend").exists()


@pytest.mark.django_db(transaction=True)
def test_concurrent_clicks_send_one_email(resend, in_threads):
    in_threads(lambda _: resend(), range(8), threads=8)

    assert Delivery.objects.filter(kind="resend").count() == 1


def test_a_delivery_claimed_before_the_address_was_corrected_does_not_count(pay, product, work, mailoutbox):
    pay(product)
    work()
    item = OrderItem.objects.get()
    first, _ = resending.resend(item, actor="Sam")
    claimed = Delivery.objects.claim(first.pk)
    claimed.readdress()  # the worker is sending to the old address
    correct_email(item.order, "right@example.com", actor="Sam")

    second, new = resending.resend(item, actor="Sam")
    claimed.end(status="sent")
    work()

    assert new and second.recipient == "right@example.com"
    assert mailoutbox[-1].to == ["right@example.com"]


def test_a_resend_does_not_duplicate_a_queued_automatic_delivery(pay, product, work, mailoutbox):
    pay(product)

    delivery, new = resending.resend(OrderItem.objects.get(), actor="Sam")
    work()

    assert (delivery.kind, new) == ("automatic", False)
    assert len(mailoutbox) == 1


@pytest.fixture
def order(api, make_payment, make_product, work, mailoutbox):
    """A delivered order with two codes of one item and one of another."""
    payment = make_payment(make_product(name="Pro"), make_product(name="Lite"), order="A1")
    payment["items"][0]["quantity"] = 2
    api.post("/api/v1/payments/", payment, format="json")
    work()
    mailoutbox.clear()
    return Order.objects.get()


def test_all_codes_of_an_order_are_resent_in_one_email(order, work, mailoutbox):
    delivery, new = resending.resend_all(order, actor="Sam")
    again = resending.resend_all(order, actor="Sam")
    work()

    assert new and again == (delivery, False)
    (message,) = mailoutbox
    assert all(code.code in message.body for code in order.codes())
    assert "This is license" not in message.body


def test_one_code_of_an_item_is_numbered(order, work, mailoutbox):
    code = order.codes().get(unit=2)

    resending.resend(code.item, code, actor="Sam")
    work()

    assert "This is license 2 of 2." in mailoutbox[0].body


def test_the_address_is_corrected_and_everything_is_resent_to_it(order, work, mailoutbox):
    delivery, new = resending.correct_and_resend(order, "right@example.com", actor="Sam")
    again = resending.correct_and_resend(order, "right@example.com", actor="Sam")
    work()

    assert new and again == (delivery, False)
    assert [message.to for message in mailoutbox] == [["right@example.com"]]
    assert order.events.count() == 1


def test_without_allowed_delivery_neither_happens(order):
    CheckoutPage.objects.update(delivery_allowed=False)

    with pytest.raises(resending.ResendRefused):
        resending.correct_and_resend(order, "right@example.com", actor="Sam")

    assert Order.objects.get().email == "ada@example.com"
    assert not order.events.exists() and not order.deliveries.filter(kind="resend").exists()


@pytest.mark.django_db(transaction=True)
def test_concurrent_corrections_send_one_email(order, in_threads):
    in_threads(lambda _: resending.correct_and_resend(order, "right@example.com", actor="Sam"), range(8), threads=8)

    assert order.deliveries.filter(kind="resend").count() == order.events.count() == 1


@pytest.mark.django_db(transaction=True)
def test_it_does_not_wait_for_an_import(pay, product, in_threads):
    pay(product)
    item = OrderItem.objects.get()
    with transaction.atomic():
        Merchant.objects.select_for_update().get()  # an import holds this lock for minutes

        assert in_threads(lambda _: resending.resend(item, actor="Sam"), [0], threads=1)
