"""Orders and subscription invoices of Lemon Squeezy, in the shape of its webhooks."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from orders.models import Order
from pools.models import LicenseKey
from shops.models import Event
from shops.tests.api_server import fetch_missed, serve
from shops.tests.factories import emails, post, process_due, subscriptions
from shops.tests.senders import SECRET, sign

pytestmark = pytest.mark.django_db

PRICE = {"data": {"type": "prices", "id": "9", "attributes": {"category": "one_time", "renewal_interval_unit": None,
         "renewal_interval_quantity": None}}}  # fmt: skip
YEARLY = {"data": {"type": "prices", "id": "9", "attributes": {"category": "subscription",
          "renewal_interval_unit": "year", "renewal_interval_quantity": 1}}}  # fmt: skip


def make_order(topic="order_created", number=1, test_mode=False, **attributes):
    return {
        "meta": {"event_name": topic, "test_mode": test_mode, "custom_data": {"campaign": "november"}},
        "data": {
            "type": "orders",
            "id": str(number),
            "attributes": {
                "store_id": 1,
                "identifier": "104e18a2-d755-4d4b-80c4-a6c1dcbe1c10",
                "order_number": 1000 + number,
                "user_name": "Ada Byron",
                "user_email": "ada@example.com",
                "currency": "EUR",
                "total": 5950,
                "refunded_amount": 0,
                "status": "paid",
                "first_order_item": {
                    "id": 11,
                    "order_id": number,
                    "price_id": 9,
                    "product_id": 5,
                    "variant_id": 6,
                    "product_name": "Photo Pro",
                    "variant_name": "Full",
                    "quantity": 2,
                    "price": 2500,
                },
                "created_at": "2026-11-22T10:00:00.000000Z",
                "updated_at": "2026-11-22T10:00:00.000000Z",
                "test_mode": test_mode,
            }
            | attributes,
        },
    }


def make_invoice(topic="subscription_payment_success", number=1, **attributes):
    return {
        "meta": {"event_name": topic, "test_mode": False},
        "data": {
            "type": "subscription-invoices",
            "id": str(number),
            "attributes": {
                "store_id": 1,
                "subscription_id": 77,
                "user_name": "Ada Byron",
                "user_email": "ada@example.com",
                "billing_reason": "renewal",
                "status": "paid",
                "currency": "EUR",
                "total": 5950,
                "refunded_amount": 0,
                "created_at": "2027-11-22T10:00:00.000000Z",
            }
            | attributes,
        },
    }


SUBSCRIPTION = {
    "type": "subscriptions",
    "id": "77",
    "attributes": {
        "order_id": 1,
        "product_id": 5,
        "variant_id": 6,
        "product_name": "Photo Pro",
        "variant_name": "Full",
        "first_subscription_item": {"id": 1, "price_id": 9, "quantity": 2},
    },
}


@pytest.fixture
def shop(make_connection):
    return make_connection("lemonsqueezy")


@pytest.fixture
def api(receiver, monkeypatch):
    """Answer requests to Lemon Squeezy's API."""

    def answer(documents):
        monkeypatch.setattr("shops.kinds.lemonsqueezy.LemonSqueezy.api", serve(receiver, documents))

    return answer


@pytest.fixture
def shop_with_key(make_connection):
    return make_connection("lemonsqueezy", values={"api_key": "eyJ0", "store_id": "1"})


@pytest.fixture
def photo(make_product):
    return make_product(sku="6")


def send(shop, document):
    body = json.dumps(document).encode()
    signature = sign(body, SECRET, form="hex")
    response = post(shop, body, X_Event_Name=document["meta"]["event_name"], X_Signature=signature)
    process_due()
    return response


def test_a_paid_order_gets_its_licenses(shop, photo):
    assert send(shop, make_order()).status_code == 200

    order = Order.objects.get()
    assert (order.number, order.email, order.first_name, order.last_name) == (
        "1001",
        "ada@example.com",
        "Ada",
        "Byron",
    )
    assert order.paid_at == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert (order.total(), order.codes().count()) == (Decimal("59.50"), 2)
    assert emails() == ["ada@example.com"]


def test_a_repetition_changes_nothing(shop, photo):
    send(shop, make_order())
    send(shop, make_order())
    send(shop, make_order(updated_at="2026-11-23T10:00:00.000000Z"))

    assert Event.objects.count() == 2
    assert Order.objects.get().codes().count() == 2


@pytest.mark.parametrize(
    ("currency", "total", "expected"), [("JPY", 900, Decimal(900)), ("KWD", 1525, Decimal("1.525"))]
)
def test_a_currency_has_its_own_decimals(shop, photo, currency, total, expected):
    send(shop, make_order(currency=currency, total=total))

    assert Order.objects.get().total() == expected


def test_goods_without_a_license_are_parked_until_someone_maps_or_ignores_them(shop):
    send(shop, make_order())

    event = Event.objects.get()
    assert (event.cause, event.waits_for) == ("unmapped", ["6"])
    assert "Photo Pro Full" in event.reason


def test_an_order_in_the_sandbox_is_a_test(shop, photo, merchant):
    send(shop, make_order(test_mode=True))

    assert Order.objects.get().merchant.live == merchant
    assert not merchant.orders.exists()


@pytest.mark.parametrize("status", ["pending", "failed"])
def test_an_unpaid_order_waits_until_it_is_paid(shop, photo, status):
    send(shop, make_order(status=status))
    assert Event.objects.get().cause == "unpaid"

    send(shop, make_order())
    assert Order.objects.get().codes().count() == 2


@pytest.mark.parametrize("status", ["refunded", "fraudulent"])
def test_a_full_refund_puts_the_keys_into_quarantine(shop, photo, status):
    send(shop, make_order())
    send(shop, make_order("order_refunded", status=status, refunded_amount=5950))

    assert Order.objects.get().status == "deleted"
    assert LicenseKey.objects.filter(withdrawn_because="refunded").count() == 2


def test_a_refund_before_its_sale_takes_effect_after_it(shop, photo):
    send(shop, make_order("order_refunded", status="refunded", refunded_amount=5950))
    assert Event.objects.get().cause == "no_sale"

    send(shop, make_order())
    process_due()
    assert Order.objects.get().status == "deleted"


def test_partial_refunds_are_reported_as_a_sum(shop, photo):
    send(shop, make_order())
    for amount in (1000, 1000, 2500):
        send(shop, make_order("order_refunded", status="partial_refund", refunded_amount=amount))

    order = Order.objects.get()
    assert (order.status, order.left_to_refund()) == ("paid", Decimal("34.50"))


def test_a_renewal_belongs_to_the_subscription_that_an_order_began(shop_with_key, photo, api):
    api({"prices/": YEARLY, "subscriptions/77": {"data": SUBSCRIPTION}, "subscriptions?": {"data": [SUBSCRIPTION]}})
    send(shop_with_key, make_order())
    send(shop_with_key, make_invoice(number=1))

    assert subscriptions() == [("77", "P1Y")] * 2


def test_an_order_waits_for_its_subscription(shop_with_key, photo, api):
    api({"prices/": YEARLY, "subscriptions?": [{"data": []}, {"data": [SUBSCRIPTION]}]})
    send(shop_with_key, make_order())
    assert Event.objects.get().due_at and not Order.objects.exists()

    Event.objects.update(due_at="2026-01-01T00:00Z")
    process_due()
    assert subscriptions() == [("77", "P1Y")]


def test_an_order_of_another_product_begins_no_subscription(shop_with_key, photo, api):
    api({"prices/": PRICE})
    send(shop_with_key, make_order())

    assert Order.objects.get().items.get().subscription is None


def test_the_first_payment_of_a_subscription_is_reported_by_its_order(shop, photo):
    send(shop, make_invoice(billing_reason="initial"))

    assert Event.objects.get().state == "ignored"


def test_a_renewal_without_an_api_key_says_what_is_missing(shop, photo):
    send(shop, make_invoice())

    event = Event.objects.get()
    assert (event.state, event.cause) == ("parked", "access")


def test_a_refunded_renewal_leaves_the_order_with_the_same_id_alone(shop_with_key, photo, api):
    api({"prices/": YEARLY, "subscriptions?": {"data": [SUBSCRIPTION]}})
    send(shop_with_key, make_order(number=1))
    send(shop_with_key, make_invoice("subscription_payment_refunded", number=1, status="refunded"))

    assert Order.objects.get().status == "paid"


@pytest.mark.parametrize("topic", ["subscription_cancelled", "subscription_expired", "license_key_created"])
def test_other_events_are_ignored_with_a_reason(shop, topic):
    send(shop, {"meta": {"event_name": topic}, "data": {"type": "subscriptions", "id": "1", "attributes": {}}})

    event = Event.objects.get()
    assert event.state == "ignored" and topic in event.reason


@pytest.mark.parametrize("signature", ["", "x", "2677ad3e7c090b2fa2c0fb13020d66d5420879b8316eb356a2d60fb9073bc778"])
def test_a_wrong_signature_is_rejected(shop, signature):
    assert post(shop, make_order(), X_Signature=signature).status_code == 401
    assert not Event.objects.exists()


def test_the_reference_signature(make_connection):
    shop = make_connection("lemonsqueezy", secret="secret")
    signature = "2677ad3e7c090b2fa2c0fb13020d66d5420879b8316eb356a2d60fb9073bc778"

    assert post(shop, b'{"hello":"world"}', X_Signature=signature).status_code == 200


def test_a_missed_refund_of_an_older_order_is_fetched(shop_with_key, photo, api):
    older = {"created_at": "2026-10-30T10:00:00.000000Z"}
    api({"prices/": PRICE})
    send(shop_with_key, make_order(**older))
    refunded, unknown = (make_order(number=number, **older, status="refunded")["data"] for number in (1, 2))
    api({"subscription-invoices?": {"data": []}, "orders?": {"data": [refunded, unknown]}})

    fetch_missed(shop_with_key, datetime(2026, 11, 20, tzinfo=UTC))
    process_due()

    assert Order.objects.get().status == "deleted"
    assert Event.objects.count() == 2


def test_it_fetches_missed_orders_and_renewals(shop_with_key, photo, api, monkeypatch):
    monkeypatch.setattr("shops.kinds.lemonsqueezy.PAGE_SIZE", 1)
    first_payment = make_invoice(number=5, billing_reason="initial")["data"]
    old = make_order(number=2, created_at="2026-01-01T00:00:00.000000Z")["data"]
    api(
        {
            "prices/": YEARLY,
            "subscriptions/77": {"data": SUBSCRIPTION},
            "subscriptions?": {"data": [SUBSCRIPTION]},
            "subscription-invoices?": [{"data": [make_invoice()["data"]]}, {"data": [first_payment]}, {"data": []}],
            "orders?": [{"data": [make_order()["data"]]}, {"data": [old]}],
        }
    )

    sales = fetch_missed(shop_with_key, datetime(2026, 11, 20, tzinfo=UTC))
    process_due()

    assert Event.objects.count() == 2
    assert sales == ["order 1", "invoice 1"]
    assert subscriptions() == [("77", "P1Y")] * 2
