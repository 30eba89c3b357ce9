"""Orders, refunds and disputes of Shopify, in the shape of its webhooks."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from orders.models import Order
from pools.models import LicenseKey
from shops.models import Event, ExternalProduct
from shops.tests.api_server import fetch_missed, serve
from shops.tests.factories import emails, post, process_due, subscriptions
from shops.tests.senders import sign

pytestmark = pytest.mark.django_db

ORDER_ID = 820982911946154508


def make_money(amount, currency="EUR"):
    return {"shop_money": {"amount": amount, "currency_code": "EUR"}, "presentment_money": {"amount": amount,
            "currency_code": currency}}  # fmt: skip


def make_line(**fields):
    return {
        "id": 866550311766439020,
        "sku": "PHOTO-PRO",
        "variant_id": 808950810,
        "product_id": 632910392,
        "name": "Photo Pro - Full",
        "title": "Photo Pro",
        "quantity": 2,
        "price": "30.00",
        "discount_allocations": [{"amount": "10.00"}],
        "tax_lines": [{"price": "9.50", "rate": 0.19}],
    } | fields


def make_order(**fields):
    return {
        "id": ORDER_ID,
        "name": "#1001",
        "order_number": 1001,
        "test": False,
        "email": "ada@example.com",
        "contact_email": "ada@example.com",
        "currency": "EUR",
        "presentment_currency": "EUR",
        "customer_locale": "en-GB",
        "processed_at": "2026-11-22T12:00:00-05:00",
        "created_at": "2026-11-22T12:00:00-05:00",
        "cancelled_at": None,
        "financial_status": "paid",
        "source_name": "web",
        "taxes_included": False,
        "customer": {"id": 115310627314723954, "email": "ada@example.com", "first_name": "Ada", "last_name": "Byron"},
        "billing_address": {"first_name": "Ada", "last_name": "Byron", "company": None, "country_code": "GB"},
        "line_items": [make_line()],
        "shipping_lines": [],
        "refunds": [],
        "note_attributes": [{"name": "campaign", "value": "november"}],
    } | fields


def make_refund(amount="59.50", **fields):
    payment = {"id": 1, "kind": "refund", "status": "success", "amount": amount, "currency": "EUR", "test": False}
    return {
        "id": 890088186047892319,
        "order_id": ORDER_ID,
        "transactions": [payment],
        "refund_line_items": [],
    } | fields


def make_dispute(**fields):
    return {
        "id": 285332461850802050,
        "order_id": ORDER_ID,
        "type": "chargeback",
        "amount": "59.50",
        "currency": "EUR",
        "reason": "fraudulent",
        "network_reason_code": "4837",
        "status": "needs_response",
        "evidence_sent_on": None,
        "finalized_on": None,
        "initiated_at": "2026-11-25T19:00:00-05:00",
    } | fields


@pytest.fixture
def shop(make_connection):
    return make_connection("shopify")


@pytest.fixture
def photo(make_product):
    return make_product(sku="PHOTO-PRO")


def send(shop, document, topic="orders/paid"):
    body = json.dumps(document).encode()
    response = post(shop, body, X_Shopify_Topic=topic, X_Shopify_Hmac_SHA256=sign(body))
    process_due()
    return response


def test_a_paid_order_gets_its_licenses(shop, photo):
    assert send(shop, make_order()).status_code == 200

    order = Order.objects.get()
    assert (order.number, order.email, order.country, order.currency) == ("#1001", "ada@example.com", "GB", "EUR")
    assert order.paid_at == datetime(2026, 11, 22, 17, tzinfo=UTC)
    assert order.total() == Decimal("59.50")  # with discount and tax
    assert order.codes().count() == 2
    assert emails() == ["ada@example.com"]


def test_a_repetition_changes_nothing(shop, photo):
    send(shop, make_order())
    send(shop, make_order(), topic="orders/updated")
    send(shop, make_order(note="changed"), topic="orders/updated")

    assert Order.objects.get().codes().count() == 2
    assert Event.objects.count() == 2


def test_an_included_tax_is_not_added(shop, photo):
    send(shop, make_order(taxes_included=True))

    assert Order.objects.get().total() == Decimal("50.00")


def test_an_order_can_also_have_goods_without_a_license(shop, photo):
    boxes = make_line(id=2, sku="BOX", name="Box", quantity=1, price="5.00", discount_allocations=[], tax_lines=[])
    shipping = [{"id": 3, "title": "Post", "price": "4.00", "discount_allocations": [], "tax_lines": []}]
    send(shop, make_order(line_items=[make_line(), boxes], shipping_lines=shipping))

    order = Order.objects.get()
    assert (order.items.count(), order.other_items.count(), order.total()) == (1, 2, Decimal("68.50"))
    assert Event.objects.get().waits_for == ["BOX"]


@pytest.mark.parametrize(
    ("currency", "price", "total"), [("JPY", "900", Decimal(1800)), ("KWD", "1.525", Decimal("3.050"))]
)
def test_amounts_are_in_the_currency_that_the_customer_paid_in(shop, photo, currency, price, total):
    line = make_line(price="7.00", price_set=make_money(price, currency), discount_allocations=[], tax_lines=[])
    send(shop, make_order(line_items=[line], total_price_set=make_money(str(total), currency)))

    order = Order.objects.get()
    assert (order.currency, order.total()) == (currency, total)


@pytest.mark.parametrize("status", ["pending", "authorized", "partially_paid"])
def test_an_unpaid_order_waits_until_it_is_paid(shop, photo, status):
    send(shop, make_order(financial_status=status))
    assert Event.objects.get().cause == "unpaid"

    send(shop, make_order())
    assert Order.objects.get().codes().count() == 2


@pytest.mark.parametrize("fields", [{"financial_status": "voided"}, {"cancelled_at": "2026-11-22T12:00:00-05:00"}])
def test_an_order_that_was_canceled_gets_nothing(shop, photo, fields):
    send(shop, make_order(**fields))

    event = Event.objects.get()
    assert event.state == "ignored" and event.reason
    assert not Order.objects.exists()


def test_a_full_refund_puts_the_keys_into_quarantine(shop, photo):
    send(shop, make_order())
    send(shop, make_refund(), topic="refunds/create")

    assert Order.objects.get().status == "deleted"
    assert LicenseKey.objects.filter(withdrawn_because="refunded").count() == 2


@pytest.mark.parametrize("refunds", [[], [make_refund("20.00"), make_refund("39.50", id=2)]])
def test_an_order_that_is_refunded_by_now_is_refunded_in_full(shop, photo, refunds):
    send(shop, make_order())
    send(shop, make_order(financial_status="refunded", refunds=refunds), topic="orders/updated")

    assert Order.objects.get().status == "deleted"


def test_a_partial_refund_is_recorded_once(shop, photo):
    send(shop, make_order())
    send(shop, make_refund("20.00"), topic="refunds/create")
    send(shop, make_order(financial_status="partially_refunded", refunds=[make_refund("20.00")]))

    order = Order.objects.get()
    assert (order.status, order.left_to_refund()) == ("paid", Decimal("39.50"))


def test_a_refund_before_its_sale_takes_effect_after_it(shop, photo):
    send(shop, make_refund(), topic="refunds/create")
    assert Event.objects.get().cause == "no_sale"

    send(shop, make_order())
    process_due()
    assert Order.objects.get().status == "deleted"


def test_goods_that_are_only_restocked_are_no_refund(shop, photo):
    send(shop, make_order())
    send(shop, make_refund(transactions=[]), topic="refunds/create")

    assert Order.objects.get().status == "paid"
    assert Event.objects.latest("pk").state == "ignored"


def test_a_chargeback_is_a_refund_until_it_is_won(shop, photo):
    send(shop, make_order())
    send(shop, make_dispute(), topic="disputes/create")
    assert Order.objects.get().status == "deleted"

    send(shop, make_dispute(status="won", finalized_on="2026-12-20T00:00:00Z"), topic="disputes/update")
    assert Order.objects.get().status == "paid"


def test_a_chargeback_reported_after_it_was_won_changes_nothing(shop, photo):
    send(shop, make_order())
    send(shop, make_dispute(status="won", finalized_on="2026-12-20T00:00:00Z"), topic="disputes/update")
    send(shop, make_dispute(), topic="disputes/create")

    assert Order.objects.get().status == "paid"


def test_an_inquiry_of_a_bank_changes_nothing(shop, photo):
    send(shop, make_order())
    send(shop, make_dispute(type="inquiry"), topic="disputes/create")

    assert Order.objects.get().status == "paid"


@pytest.mark.parametrize(
    ("fields", "period"),
    [
        ({"selling_plan_allocation": {"selling_plan": {"name": "Save 20%, pay every 3 months"}}}, "P3M"),
        ({"selling_plan_allocation": {"selling_plan": {"name": "Monthly"}}}, "P1M"),
        ({"selling_plan_allocation": {"selling_plan": {"name": "Annual"}}}, "P1Y"),
    ],
)
def test_a_renewal_belongs_to_its_subscription(shop, photo, fields, period):
    send(shop, make_order(line_items=[make_line(**fields)]))
    send(
        shop,
        make_order(id=2, name="#1002", source_name="subscription_contract", line_items=[make_line(**fields)]),
    )

    assert subscriptions() == [("115310627314723954-808950810", period)] * 2


def test_a_test_order_goes_to_the_sandbox(shop, photo, merchant):
    send(shop, make_order(test=True))

    assert Order.objects.get().merchant.live == merchant
    assert not merchant.orders.exists()


def test_the_topic_header_cannot_change_what_an_event_means(shop, photo):
    send(shop, make_order(), topic="refunds/create")

    assert Order.objects.get().status == "paid"


def test_an_unknown_product_is_listed(shop):
    send(shop, make_order())

    assert Event.objects.get().cause == "unmapped"
    assert ExternalProduct.objects.get().name == "Photo Pro - Full"


@pytest.mark.parametrize("signature", ["", "x", "JnetPnwJCy+iwPsTAg1m1UIIebgxbrNWotYPuQc7x3g="])
def test_a_wrong_signature_is_rejected(shop, signature):
    assert post(shop, make_order(), X_Shopify_Hmac_SHA256=signature).status_code == 401
    assert not Event.objects.exists()


def test_the_reference_signature(make_connection):
    shop = make_connection("shopify", secret="secret")
    signature = "JnetPnwJCy+iwPsTAg1m1UIIebgxbrNWotYPuQc7x3g="

    assert post(shop, b'{"hello":"world"}', X_Shopify_Hmac_SHA256=signature).status_code == 200


def test_it_fetches_missed_orders(make_connection, photo, receiver, monkeypatch):
    monkeypatch.setattr("shops.kinds.shopify.PAGE_SIZE", 2)
    pending = make_order(id=2, name="#1002", financial_status="pending")
    partly = make_order(id=3, name="#1003", financial_status="partially_refunded", refunds=[make_refund("20.00")])
    store = serve(receiver, {"orders.json": [{"orders": [make_order(), pending]}, {"orders": [partly]}]})
    shop = make_connection("shopify", values={"store": store, "access_token": "shpat_x"})

    sales = fetch_missed(shop, datetime(2026, 11, 20, tzinfo=UTC))
    process_due()

    assert [order.number for order in Order.objects.order_by("number")] == ["#1001", "#1003"]
    assert Order.objects.get(number="#1003").left_to_refund() == Decimal("39.50")
    assert str(ORDER_ID) in sales and "3" not in sales
    assert receiver.received[0].headers["x-shopify-access-token"] == "shpat_x"
    assert "since_id=2" in receiver.received[1].path
