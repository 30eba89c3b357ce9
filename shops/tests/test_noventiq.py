"""Webhooks of Noventiq Checkout, in the shape of its documentation."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha512

import pytest

from orders.models import Order, Subscription
from pools.models import LicenseKey
from shops.models import Event
from shops.tests.factories import emails, post, process_due, subscriptions
from shops.tests.senders import SECRET

pytestmark = pytest.mark.django_db

REFERENCE = (
    "1d0e480e14922b2e330216b2d34b3b9998267067143cf9ef7caaf3637de0307f"
    "207b7c6b1cd94ece313366baa24014c488796eef3dabbe8e60e7d1e72c73918d"
)


def make_product_fields(**fields):
    return {
        "id": "111111",
        "vendor_code": "0001",
        "sku": "PHOTO-PRO",
        "business_segment": "b2c",
        "name": "Photo Pro",
        "price": "29.75",
        "quantity": 2,
        "vat_amount": "9.50",
        "amount": "59.50",
    } | fields


def make_webhook(event="order.payment.succeeded", **fields):
    return {
        "event": event,
        "event_date": "2026-11-22T13:05:00+03:00",
        "order_id": 5555555,
        "order_name": "A0005555555",
        "status": "paid",
        "external_id": "",
        "create_date": "2026-11-22T13:00:00+03:00",
        "pay_date": "2026-11-22T13:04:00+03:00",
        "currency": "EUR",
        "locale": "fr_FR",
        "customer": {
            "country": "FR",
            "type": "physical",
            "email": "ada@example.com",
            "first_name": "Ada",
            "last_name": "Byron",
            "company_name": "",
        },
        "product": make_product_fields(),
        "payment": {"payment_method": "CreditCard", "card_last_4": None},
        "document_part": "1-of-1",
    } | fields


@pytest.fixture
def shop(make_connection):
    return make_connection("noventiq")


@pytest.fixture
def photo(make_product):
    return make_product(sku="PHOTO-PRO")


def sign(document, secret=SECRET):
    names = [document["event"], document["order_id"], document["create_date"]]
    names += [document["payment"]["payment_method"], document["currency"], document["customer"]["email"]]
    return sha512(";".join([secret, *map(str, names)]).encode()).hexdigest()


def send(shop, document):
    response = post(shop, json.dumps(document).encode(), signature=sign(document))
    process_due()
    return response


def test_a_paid_order_gets_its_licenses(shop, photo):
    assert send(shop, make_webhook()).status_code == 200

    order = Order.objects.get()
    assert (order.number, order.email, order.country, order.language) == (
        "A0005555555",
        "ada@example.com",
        "FR",
        "fr-FR",
    )
    assert order.paid_at == datetime(2026, 11, 22, 10, 4, tzinfo=UTC)
    assert (order.total(), order.codes().count()) == (Decimal("59.50"), 2)
    assert emails() == ["ada@example.com"]


def test_each_product_of_an_order_becomes_an_order(shop, photo, make_product):
    make_product(sku="VIDEO")
    send(shop, make_webhook(document_part="1-of-2"))
    send(shop, make_webhook(document_part="2-of-2", product=make_product_fields(id="222222", sku="VIDEO")))

    numbers = Order.objects.order_by("number").values_list("number", flat=True)
    assert list(numbers) == ["A0005555555/111111", "A0005555555/222222"]


def test_a_product_without_a_license_leaves_the_others_alone(shop, photo):
    send(shop, make_webhook(document_part="1-of-2"))
    box = make_product_fields(id="222222", sku="BOX", name="Box")
    send(shop, make_webhook(document_part="2-of-2", product=box))

    assert Order.objects.get().codes().count() == 2
    assert Event.objects.latest("pk").waits_for == ["BOX"]


def test_a_repetition_changes_nothing(shop, photo):
    send(shop, make_webhook())
    send(shop, make_webhook())
    send(shop, make_webhook(event_date="2026-11-22T14:05:00+03:00"))

    assert Event.objects.count() == 2
    assert Order.objects.get().codes().count() == 2


@pytest.mark.parametrize(("currency", "amount"), [("JPY", "900.00"), ("KWD", "1.525")])
def test_a_currency_has_its_own_decimals(shop, photo, currency, amount):
    send(shop, make_webhook(currency=currency, product=make_product_fields(amount=amount)))

    assert Order.objects.get().total() == Decimal(amount)


def test_a_returned_product_is_refunded_in_full(shop, photo):
    send(shop, make_webhook())
    send(shop, make_webhook("product.returned", status="deleted"))

    assert Order.objects.get().status == "deleted"
    assert LicenseKey.objects.filter(withdrawn_because="refunded").count() == 2


def test_a_returned_product_leaves_the_other_products_of_its_order(shop, photo, make_product):
    make_product(sku="VIDEO")
    video = make_product_fields(id="222222", sku="VIDEO")
    send(shop, make_webhook(document_part="1-of-2"))
    send(shop, make_webhook(document_part="2-of-2", product=video))
    send(shop, make_webhook("product.returned", product=video))

    assert list(Order.objects.order_by("number").values_list("status", flat=True)) == ["paid", "deleted"]


def test_a_return_before_the_payment_takes_effect_after_it(shop, photo):
    send(shop, make_webhook("product.returned"))
    assert Event.objects.get().cause == "no_sale"

    send(shop, make_webhook())
    process_due()
    assert Order.objects.get().status == "deleted"


@pytest.mark.parametrize("kind", ["AR", "PMR"])
def test_a_renewal_belongs_to_its_subscription(shop, photo, kind):
    subscription = {"id": "S-77", "type": kind, "period": "P1Y"}
    send(shop, make_webhook(subscription=subscription))
    send(shop, make_webhook(subscription=subscription, order_id=6, order_name="A6"))

    assert subscriptions() == [("S-77", "P1Y")] * 2
    assert Subscription.objects.get().type == kind


@pytest.mark.parametrize("topic", ["order.created", "order.payment.failed", "subscription.cancelled"])
def test_other_events_are_ignored_with_a_reason(shop, photo, topic):
    send(shop, make_webhook(topic, status="not paid"))

    event = Event.objects.get()
    assert event.state == "ignored" and topic in event.reason


def test_an_order_that_is_not_paid_gets_nothing(shop, photo):
    send(shop, make_webhook(status="not paid"))

    assert Event.objects.get().cause == "unpaid"


@pytest.mark.parametrize("field", ["event", "order_id", "create_date", "currency"])
def test_a_signed_field_cannot_be_changed(shop, field):
    document = make_webhook()
    signature = sign(document)

    assert post(shop, document | {field: "x"}, signature=signature).status_code == 401
    assert not Event.objects.exists()


@pytest.mark.parametrize("signature", ["", "x", REFERENCE])
def test_a_wrong_signature_is_rejected(shop, signature):
    assert post(shop, make_webhook(), signature=signature).status_code == 401


def test_the_signature_in_noventiqs_documentation(make_connection):
    shop = make_connection("noventiq", secret="secret_key")
    document = make_webhook("order.created", create_date="2021-08-13T09:16:35+03:00")
    document["customer"]["email"] = "customer@gmail.com"

    assert post(shop, document, signature=REFERENCE).status_code == 200
