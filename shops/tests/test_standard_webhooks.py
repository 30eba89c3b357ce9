"""Payments from a shop of the merchant's own, signed following Standard Webhooks."""

import json
import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from standardwebhooks import Webhook

from orders.models import Order
from pools.models import LicenseKey
from shops.models import Connection, Event
from shops.tests.factories import emails, post, process_due, subscriptions

pytestmark = pytest.mark.django_db

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def make_payment(**fields):
    return {
        "type": "order.paid",
        "order": "A0012345678",
        "paid_at": "2026-11-22T10:00:00Z",
        "currency": "EUR",
        "language": "de",
        "customer": {"email": "ada@example.com", "first_name": "Ada", "last_name": "Byron", "country": "GB"},
        "items": [{"item": "1", "product": "PHOTO-PRO", "quantity": 2, "total_price": "59.50"}],
        "additional_parameters": {"campaign": "november"},
    } | fields


def make_refund(**fields):
    return {"type": "order.refunded", "order": "A0012345678"} | fields


@pytest.fixture
def shop(make_connection):
    return make_connection("standard_webhooks", secret=SECRET)


@pytest.fixture
def photo(make_product):
    return make_product(sku="PHOTO-PRO")


def deliver(shop, body, name="msg_1", seconds=None, signature=None):
    seconds = int(time.time()) if seconds is None else seconds
    given = signature or Webhook(SECRET).sign(name, datetime.fromtimestamp(seconds, UTC), body.decode())
    headers = {"webhook_id": name, "webhook_timestamp": str(seconds), "webhook_signature": given}
    return post(shop, body, **headers)


def send(shop, document, name=None):
    body = json.dumps(document).encode()
    response = deliver(shop, body, name or f"msg_{abs(hash(body))}")
    process_due()
    return response


def test_a_payment_gets_its_licenses(shop, photo):
    assert send(shop, make_payment()).status_code == 200

    order = Order.objects.get()
    assert (order.number, order.email, order.country, order.language) == ("A0012345678", "ada@example.com", "GB", "de")
    assert (order.total(), order.codes().count()) == (Decimal("59.50"), 2)
    assert emails() == ["ada@example.com"]


def test_the_content_may_also_be_in_data_as_the_specification_recommends(shop, photo):
    payment = make_payment()
    send(shop, {"type": payment.pop("type"), "timestamp": "2026-11-22T10:00:01Z", "data": payment})

    assert Order.objects.get().codes().count() == 2


def test_a_repeated_message_is_stored_once(shop, photo):
    for _number in range(3):
        send(shop, make_payment(), "msg_1")
    send(shop, make_payment(), "msg_2")

    assert Event.objects.count() == 2
    assert Order.objects.get().codes().count() == 2


def test_items_without_a_license_are_kept_beside_the_others(shop, photo):
    box = {"item": "2", "product": "BOX", "quantity": 1, "total_price": "5.00"}
    send(shop, make_payment(items=[*make_payment()["items"], box]))

    order = Order.objects.get()
    assert (order.items.count(), order.other_items.count(), order.codes().count()) == (1, 1, 2)


@pytest.mark.parametrize(("currency", "price"), [("JPY", "900"), ("KWD", "1.525")])
def test_a_currency_has_its_own_decimals(shop, photo, currency, price):
    item = {"item": "1", "product": "PHOTO-PRO", "quantity": 2, "total_price": price}
    send(shop, make_payment(currency=currency, items=[item]))

    assert Order.objects.get().total() == Decimal(price)


def test_a_renewal_belongs_to_its_subscription(shop, photo):
    for number, parent in (("A1", None), ("A2", "A1")):
        subscription = {"id": "S-77", "type": "AR", "period": "P1Y", "parent_order": parent}
        item = make_payment()["items"][0] | {"subscription": subscription}
        send(shop, make_payment(order=number, items=[item]))

    assert subscriptions() == [("S-77", "P1Y")] * 2
    assert Order.objects.get(number="A2").items.get().parent_order == "A1"


def test_a_full_refund_puts_the_keys_into_quarantine(shop, photo):
    send(shop, make_payment())
    send(shop, make_refund())

    assert Order.objects.get().status == "deleted"
    assert LicenseKey.objects.filter(withdrawn_because="refunded").count() == 2


def test_a_partial_refund_is_recorded_once(shop, photo):
    send(shop, make_payment())
    for name in ("msg_1", "msg_2"):
        send(shop, make_refund(amount="20.00", currency="EUR", reference="R-1"), name)

    order = Order.objects.get()
    assert (order.status, order.left_to_refund()) == ("paid", Decimal("39.50"))


def test_a_refund_before_its_payment_takes_effect_after_it(shop, photo):
    send(shop, make_refund())
    assert Event.objects.get().cause == "no_sale"

    send(shop, make_payment())
    process_due()
    assert Order.objects.get().status == "deleted"


def test_a_payment_that_is_reported_again_undoes_its_refund(shop, photo):
    send(shop, make_payment())
    send(shop, make_refund())
    send(shop, make_payment(reinstated_at="2026-11-25T10:00:00Z"))

    assert Order.objects.get().status == "paid"


def test_a_test_goes_to_the_sandbox(shop, photo, merchant):
    send(shop, make_payment(test=True))

    assert Order.objects.get().merchant.live == merchant
    assert not merchant.orders.exists()


def test_other_events_are_ignored_with_a_reason(shop):
    send(shop, {"type": "order.cancelled", "order": "A0012345678"})

    event = Event.objects.get()
    assert event.state == "ignored" and "order.cancelled" in event.reason


@pytest.mark.parametrize("age", [-301, 301])
def test_an_old_timestamp_is_rejected(shop, age):
    response = deliver(shop, json.dumps(make_payment()).encode(), seconds=int(time.time()) - age)

    assert response.status_code == 401
    assert not Event.objects.exists()


@pytest.mark.parametrize("signature", ["v1,", "x", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "v2,x v1a,y"])
def test_a_wrong_signature_is_rejected(shop, signature):
    assert deliver(shop, b"{}", signature=signature).status_code == 401


@pytest.mark.parametrize("name", ["", "a" * 300])
def test_a_message_needs_an_id(shop, name):
    assert deliver(shop, b"{}", name).status_code == 400


def test_the_id_is_signed(shop, photo):
    body, seconds = json.dumps(make_payment()).encode(), int(time.time())
    signature = Webhook(SECRET).sign("msg_1", datetime.fromtimestamp(seconds, UTC), body.decode())

    assert deliver(shop, body, "msg_2", seconds, signature).status_code == 401


def test_one_of_several_signatures_is_enough(shop, photo):
    body, seconds = json.dumps(make_payment()).encode(), int(time.time())
    signature = Webhook(SECRET).sign("msg_1", datetime.fromtimestamp(seconds, UTC), body.decode())

    assert deliver(shop, body, "msg_1", seconds, f"v1,AAAA {signature}").status_code == 200


@pytest.mark.parametrize("secret", ["my secret", "whsec_", "whsec_ä"])
def test_a_secret_in_another_form_is_named(make_connection, secret):
    shop = make_connection("standard_webhooks", secret=secret)

    assert deliver(shop, b"{}").status_code == 401
    assert "whsec_" in Connection.objects.get().rejected_because


def test_the_secret_is_made_up_here(make_connection):
    assert make_connection("standard_webhooks", secret="").secret.startswith("whsec_")


def test_a_payment_that_names_no_product_is_parked(shop, photo):
    send(shop, make_payment(items=[{"item": "1", "sku": "PHOTO-PRO", "quantity": 1, "total_price": "9.00"}]))

    assert (Event.objects.get().state, Event.objects.get().cause) == ("parked", "invalid")
