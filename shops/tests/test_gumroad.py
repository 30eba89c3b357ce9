"""Pings of Gumroad, and the sales that confirm them, in the shape of its API."""

from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import urlencode

import pytest

from orders.models import Order
from pools.models import LicenseKey
from shops.models import Event
from shops.tests.api_server import fetch_missed, serve
from shops.tests.factories import emails, post, process_due, subscriptions

pytestmark = pytest.mark.django_db

SALE_ID = "FO8TXN-dbxYaBdahG97Y-Q=="


def make_ping(**fields):
    return {
        "seller_id": "seller==",
        "product_id": "product==",
        "product_name": "Photo Pro",
        "permalink": "photo",
        "product_permalink": "https://northlight.gumroad.com/l/photo",
        "short_product_id": "photo",
        "email": "ada@example.com",
        "price": "5950",
        "currency": "usd",
        "quantity": "2",
        "order_number": "524459935",
        "sale_id": SALE_ID,
        "sale_timestamp": "2026-11-22T10:00:00Z",
        "variants[Tier]": "Pro",
        "resource_name": "sale",
        "refunded": "false",
        "disputed": "false",
        "dispute_won": "false",
    } | fields


def make_sale(**fields):
    return {
        "id": SALE_ID,
        "email": "ada@example.com",
        "seller_id": "seller==",
        "timestamp": "about 1 hour ago",
        "created_at": "2026-11-22T10:00:00Z",
        "product_name": "Photo Pro",
        "price": 5950,
        "currency_symbol": "$",
        "amount_refundable_in_currency": "59.50",
        "product_id": "product==",
        "product_permalink": "photo",
        "refunded": False,
        "partially_refunded": False,
        "chargedback": False,
        "purchase_email": "ada@example.com",
        "full_name": "Ada Byron",
        "country_iso2": "GB",
        "variants": {},
        "custom_fields": {"campaign": "november"},
        "order_id": 524459935,
        "disputed": False,
        "dispute_won": False,
        "quantity": 2,
    } | fields


@pytest.fixture
def shop(make_connection):
    return make_connection("gumroad", values={"access_token": "token"})


@pytest.fixture
def photo(make_product):
    return make_product(sku="photo")


@pytest.fixture
def gumroad(receiver, monkeypatch):
    """Let Gumroad's API know these sales."""

    def know(*sales, **documents):
        answers = {f"/v2/sales/{sale['id'].replace('=', '%3D')}": {"success": True, "sale": sale} for sale in sales}
        monkeypatch.setattr("shops.kinds.gumroad.Gumroad.api", serve(receiver, answers | documents))

    know(make_sale())
    return know


def send(shop, **fields):
    response = post(shop, urlencode(make_ping(**fields)).encode(), "application/x-www-form-urlencoded")
    process_due()
    return response


def test_a_confirmed_sale_gets_its_licenses(shop, photo, gumroad, receiver):
    assert send(shop).status_code == 200

    order = Order.objects.get()
    assert (order.number, order.email, order.country, order.currency) == ("524459935", "ada@example.com", "GB", "USD")
    assert order.paid_at == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert (order.total(), order.codes().count()) == (Decimal("59.50"), 2)
    assert emails() == ["ada@example.com"]
    assert receiver.received[0].headers["authorization"] == "Bearer token"


def test_only_the_id_of_the_sale_is_taken_from_the_ping(shop, photo, gumroad):
    send(shop, email="mallory@example.com", quantity="100", price="1", short_product_id="video")

    order = Order.objects.get()
    assert (order.email, order.codes().count(), order.total()) == ("ada@example.com", 2, Decimal("59.50"))


def test_a_ping_about_a_sale_that_gumroad_does_not_know_gets_nothing(shop, photo, gumroad):
    send(shop, sale_id="invented==")

    assert Event.objects.get().state == "parked"
    assert not Order.objects.exists()


def test_without_an_access_token_the_sale_is_parked(make_connection, photo):
    shop = make_connection("gumroad")
    send(shop)

    event = Event.objects.get()
    assert (event.state, event.cause) == ("parked", "access")
    assert not Order.objects.exists()


def test_a_wrong_access_token_is_reported(shop, photo, gumroad, receiver):
    receiver.respond = lambda received: (401,)
    send(shop)

    event = Event.objects.get()
    assert (event.cause, "401" in event.reason) == ("access", True)


def test_a_sale_waits_while_gumroad_is_down(shop, photo, gumroad, receiver):
    receiver.respond = lambda received: (503,)
    send(shop)
    assert Event.objects.get().due_at

    gumroad(make_sale())
    Event.objects.update(due_at="2026-01-01T00:00Z")
    process_due()
    assert Order.objects.get().codes().count() == 2


def test_a_repetition_changes_nothing(shop, photo, gumroad):
    send(shop)
    send(shop)
    send(shop, referrer="direct")

    assert Event.objects.count() == 2
    assert Order.objects.get().codes().count() == 2


def test_a_ping_in_json_is_read_as_well(shop, photo, gumroad):
    assert post(shop, make_ping()).status_code == 200
    process_due()

    assert Order.objects.get().codes().count() == 2


@pytest.mark.parametrize("body", [b"\xff", b"a=1&" * 1001])
def test_a_ping_that_is_no_form_is_refused(shop, body):
    assert post(shop, body, "application/x-www-form-urlencoded").status_code == 400


def test_a_variant_can_have_a_product_of_its_own(shop, photo, gumroad, make_product):
    pro = make_product(sku="photo: Pro")
    gumroad(make_sale(variants={"Tier": "Pro"}))
    send(shop)

    assert Order.objects.get().items.get().product == pro


def test_prices_are_in_us_dollars_whatever_currency_the_product_has(shop, photo, gumroad):
    gumroad(make_sale(currency_symbol="¥", amount_refundable_in_currency="900"))
    send(shop, currency="jpy")

    order = Order.objects.get()
    assert (order.currency, order.total()) == ("USD", Decimal("59.50"))


def test_a_refund_puts_the_keys_into_quarantine(shop, photo, gumroad):
    send(shop)
    gumroad(make_sale(refunded=True))
    send(shop, resource_name="refund", refunded="true")

    assert Order.objects.get().status == "deleted"
    assert LicenseKey.objects.filter(withdrawn_because="refunded").count() == 2


def test_a_refund_that_gumroad_does_not_confirm_changes_nothing(shop, photo, gumroad):
    send(shop)
    send(shop, resource_name="refund", refunded="true")

    assert Order.objects.get().status == "paid"


def test_a_sale_that_is_refunded_by_now_gets_nothing(shop, photo, gumroad):
    gumroad(make_sale(refunded=True))
    send(shop)

    assert Event.objects.get().cause == "no_sale"
    assert not Order.objects.exists()


def test_partial_refunds_are_known_by_what_is_left(shop, photo, gumroad):
    send(shop)
    gumroad(make_sale(partially_refunded=True, amount_refundable_in_currency="39.50"))
    for number in range(2):
        send(shop, resource_name="refund", referrer=str(number))

    order = Order.objects.get()
    assert (order.status, order.left_to_refund()) == ("paid", Decimal("39.50"))


def test_a_dispute_is_a_refund_until_it_is_won(shop, photo, gumroad):
    send(shop)
    gumroad(make_sale(disputed=True))
    send(shop, resource_name="dispute", disputed="true")
    assert Order.objects.get().status == "deleted"

    gumroad(make_sale(disputed=True, dispute_won=True))
    send(shop, resource_name="dispute_won", dispute_won="true")
    assert Order.objects.get().status == "paid"


def test_a_renewal_belongs_to_its_subscription(shop, photo, gumroad):
    membership = {"subscription_id": "sub==", "subscription_duration": "yearly"}
    renewal = make_sale(id="second==", order_id=2, **membership, recurring_charge=True)
    gumroad(make_sale(**membership), renewal)
    send(shop)
    send(shop, sale_id="second==")

    assert subscriptions() == [("sub==", "P1Y")] * 2


@pytest.mark.parametrize("topic", ["cancellation", "subscription_ended"])
def test_a_cancellation_is_ignored_with_a_reason(shop, topic):
    body = urlencode({"subscription_id": "sub==", "resource_name": topic, "cancelled": "true"}).encode()
    post(shop, body, "application/x-www-form-urlencoded")
    process_due()

    event = Event.objects.get()
    assert event.state == "ignored" and topic in event.reason


def test_a_gift_gets_its_license_with_the_sale_of_the_recipient(shop, photo, gumroad):
    gumroad(make_sale(is_gift_sender_purchase=True))
    send(shop)

    assert Event.objects.get().state == "ignored"


def test_a_preorder_waits_until_it_is_paid(shop, photo, gumroad):
    gumroad(make_sale(is_preorder_authorization=True))
    send(shop)

    assert Event.objects.get().cause == "unpaid"


def test_buying_ones_own_product_is_a_test(shop, photo, gumroad, merchant):
    gumroad(make_sale(purchaser_id="seller=="))
    send(shop, test="true")

    assert Order.objects.get().merchant.live == merchant
    assert not merchant.orders.exists()


@pytest.mark.parametrize(("claim", "purchaser"), [({"test": "true"}, "ada=="), ({}, "seller==")])
def test_a_ping_cannot_make_a_real_sale_a_test_or_a_test_a_real_sale(shop, photo, gumroad, claim, purchaser):
    gumroad(make_sale(purchaser_id=purchaser))
    send(shop, **claim)

    assert Event.objects.get().state == "parked"
    assert not Order.objects.exists()


def test_it_fetches_missed_sales(shop, photo, gumroad, receiver):
    refunded = make_sale(id="second==", order_id=2, refunded=True)
    pages = [{"sales": [make_sale()], "next_page_key": "20261121-2"}, {"sales": [refunded]}]
    gumroad(make_sale(), refunded, **{"/v2/sales?": pages})

    sales = fetch_missed(shop, datetime(2026, 11, 20, tzinfo=UTC))
    process_due()

    assert sales == [SALE_ID]
    assert Order.objects.get().codes().count() == 2
    assert "page_key=20261121-2" in receiver.received[1].path
