"""Events of Paddle Billing: completed transactions and adjustments."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.utils import timezone

from orders.models import Order, Subscription
from pools.models import LicenseKey
from shops.kinds import KINDS
from shops.kinds.base import Incoming, Rejected
from shops.models import Event
from shops.tests.api_server import FakeApi
from shops.tests.factories import emails, post, process_due
from shops.tests.senders import sign

pytestmark = pytest.mark.django_db

REFERENCE_SECRET = "pdl_ntf_01hbpjmytsa32fhr36nqgc3kgb_WvRO0eL4Bj9rgYYIBZY6wZhG4EHy9jzh"


def make_transaction(**fields):
    return {
        "id": "txn_1",
        "status": "completed",
        "customer_id": "ctm_1",
        "address_id": "add_1",
        "business_id": "biz_1",
        "origin": "web",
        "currency_code": "EUR",
        "subscription_id": None,
        "invoice_number": "74-10001",
        "custom_data": {"campaign": "spring"},
        "billed_at": "2026-11-22T17:28:08.123456Z",
        "created_at": "2026-11-22T17:27:00Z",
        "items": [make_item()],
        "details": {"line_items": [make_line()], "totals": {"total": "4760", "currency_code": "EUR"}},
    } | fields


def make_item(**fields):
    price = {
        "id": "pri_1",
        "product_id": "PHOTO-PRO",
        "name": "Single seat",
        "description": "Photo Pro",
        "billing_cycle": None,
        "custom_data": None,
    }
    return {"price": price | fields, "quantity": 2}


def make_line(**fields):
    return {
        "id": "txnitm_1",
        "price_id": "pri_1",
        "quantity": 2,
        "totals": {"subtotal": "4000", "discount": "0", "tax": "760", "total": "4760"},
        "product": {"id": "PHOTO-PRO", "name": "Photo Pro"},
    } | fields


def make_customer():
    return {
        "customer": {"id": "ctm_1", "email": "ada@example.com", "name": "Ada Byron", "locale": "de"},
        "address": {"id": "add_1", "country_code": "GB"},
        "business": {"id": "biz_1", "name": "Engines Ltd"},
    }


def make_adjustment(**fields):
    return {
        "id": "adj_1",
        "action": "refund",
        "transaction_id": "txn_1",
        "type": "full",
        "status": "approved",
        "currency_code": "EUR",
        "totals": {"subtotal": "4000", "tax": "760", "total": "4760"},
        "created_at": "2026-11-23T10:00:00Z",
        "updated_at": "2026-11-23T10:10:00Z",
    } | fields


def make_event(topic, item):
    return {
        "event_id": f"evt_{topic}_{item['id']}_{item['status']}_{item.get('action', '')}",
        "event_type": topic,
        "occurred_at": "2026-11-22T17:28:10Z",
        "notification_id": "ntf_1",
        "data": item,
    }


def sign_for_paddle(body, at=None, **secret):
    seconds = int((at or timezone.now()).timestamp())
    return f"ts={seconds};h1={sign(f'{seconds}:'.encode() + body, form='hex', **secret)}"


def send(shop, topic, item):
    body = json.dumps(make_event(topic, item)).encode()
    response = post(shop, body, Paddle_Signature=sign_for_paddle(body))
    process_due()
    return response


def sell(shop, **fields):
    return send(shop, "transaction.completed", make_transaction(**fields))


@pytest.fixture
def api(receiver, monkeypatch):
    api = FakeApi(receiver)
    monkeypatch.setattr(KINDS["paddle"], "hosts", {"live": f"{api.url}/live", "sandbox": f"{api.url}/sandbox"})
    api.answers["/live/transactions/txn_1"] = {"data": make_transaction() | make_customer()}
    return api


@pytest.fixture
def shop(make_connection, api):
    return make_connection("paddle", values={"api_key": "pdl_live_apikey_1"})


@pytest.fixture
def photo(make_product):
    return make_product(sku="PHOTO-PRO")


def test_a_transaction_gets_its_licenses(shop, api, photo):
    assert sell(shop).status_code == 200

    order = Order.objects.get()
    assert (order.number, order.email, order.company, order.country) == (
        "74-10001",
        "ada@example.com",
        "Engines Ltd",
        "GB",
    )
    assert (order.first_name, order.last_name, order.language) == ("Ada", "Byron", "de")
    assert order.codes().count() == 2
    assert order.total() == Decimal("47.60")
    assert emails() == ["ada@example.com"]
    assert "include=customer" in api.received[0].path
    assert api.received[0].headers["authorization"] == "Bearer pdl_live_apikey_1"


def test_without_an_api_key_the_address_may_be_in_the_custom_data(make_connection, photo):
    shop = make_connection("paddle")
    sell(shop, custom_data={"email": "ada@example.com"})

    assert emails() == ["ada@example.com"]


def test_without_any_address_the_sale_is_parked(make_connection, photo):
    sell(make_connection("paddle"))

    assert Event.objects.get().cause == "address"


def test_other_goods_get_no_license(shop, photo):
    mug = make_line(id="txnitm_2", price_id="pri_2", product={"id": "MUG"}, quantity=1, totals={"total": "1000"})
    sell(shop, details={"line_items": [make_line(), mug]})

    order = Order.objects.get()
    assert (order.codes().count(), order.total()) == (2, Decimal("57.60"))
    assert Event.objects.get().waits_for == ["pri_2"]


@pytest.mark.parametrize(("currency", "minor", "total"), [("JPY", "900", "900"), ("KWD", "5120", "5.120")])
def test_amounts_have_the_minor_units_of_the_currency(shop, photo, currency, minor, total):
    sell(shop, currency_code=currency, details={"line_items": [make_line(totals={"total": minor})]})

    assert Order.objects.get().total() == Decimal(total)


def test_a_renewal_belongs_to_its_subscription(shop, api, photo):
    fields = {"subscription_id": "sub_1", "items": [make_item(billing_cycle={"interval": "month", "frequency": 3})]}
    renewal = make_transaction(id="txn_2", invoice_number="74-10002", origin="subscription_recurring", **fields)
    api.answers["/live/transactions/txn_2"] = {"data": renewal | make_customer()}
    sell(shop, **fields)
    send(shop, "transaction.completed", renewal)

    subscription = Subscription.objects.get()
    assert (subscription.reference, subscription.period) == ("sub_1", "P3M")
    assert subscription.order_items.count() == Order.objects.count() == 2


@pytest.mark.parametrize("origin", ["subscription_payment_method_change", "subscription_update"])
def test_a_changed_subscription_gets_no_second_license(shop, photo, origin):
    sell(shop, origin=origin, subscription_id="sub_1")

    assert Event.objects.get().state == "ignored"


def test_sales_of_the_sandbox_become_test_orders(make_connection, merchant, api, photo):
    api.answers["/sandbox/transactions/txn_1"] = api.answers["/live/transactions/txn_1"]
    shop = make_connection("paddle", values={"api_key": "pdl_sdbx_apikey_1", "environment": "sandbox"})
    sell(shop)

    assert Order.objects.get().merchant.live == merchant


def test_a_full_refund_puts_the_keys_into_quarantine(shop, photo):
    sell(shop)
    send(shop, "adjustment.created", make_adjustment(status="pending_approval"))
    assert Order.objects.get().status == "paid"

    send(shop, "adjustment.updated", make_adjustment())

    assert Order.objects.get().status == "deleted"
    assert LicenseKey.objects.filter(withdrawn_because="refunded").count() == 2


def test_a_partial_refund_is_recorded_once(shop, photo):
    sell(shop)
    for topic in ("adjustment.created", "adjustment.updated"):
        send(shop, topic, make_adjustment(type="partial", totals={"total": "1000"}))

    order = Order.objects.get()
    assert (order.status, order.left_to_refund()) == ("paid", Decimal("37.60"))


def test_a_chargeback_takes_the_keys_back_until_it_is_reversed(shop, photo):
    sell(shop)
    send(shop, "adjustment.created", make_adjustment(action="chargeback"))
    assert Order.objects.get().status == "deleted"

    send(shop, "adjustment.created", make_adjustment(id="adj_2", action="chargeback_reverse"))
    assert Order.objects.get().status == "paid"


def test_what_a_changed_plan_costs_is_no_second_license(shop, api, photo):
    proration = make_line(id="txnitm_2", quantity=1, proration={"rate": "0.5", "billing_period": {}})
    sell(shop, details={"line_items": [make_line(proration=None), proration]}, customer=make_customer()["customer"])

    assert Order.objects.get().codes().count() == 2
    assert Event.objects.get().state == "done"


def test_a_chargeback_reported_after_its_reversal_changes_nothing(shop, photo):
    sell(shop)
    send(shop, "adjustment.created", make_adjustment(id="adj_2", action="chargeback_reverse"))
    send(shop, "adjustment.created", make_adjustment(action="chargeback"))

    assert Order.objects.get().status == "paid"


def test_a_fetched_chargeback_that_was_reversed_is_over(shop, api, photo):
    chargeback, reverse = (
        make_adjustment(action="chargeback"),
        make_adjustment(id="adj_2", action="chargeback_reverse"),
    )
    sell(shop, adjustments=[reverse, chargeback])

    assert Order.objects.get().status == "paid"


@pytest.mark.parametrize("action", ["credit", "chargeback_warning"])
def test_other_adjustments_change_nothing(shop, photo, action):
    sell(shop)
    send(shop, "adjustment.created", make_adjustment(action=action))

    assert Order.objects.get().status == "paid"


def test_a_refund_before_the_sale_waits_for_it(shop, photo):
    send(shop, "adjustment.created", make_adjustment())
    assert Event.objects.get().cause == "no_sale"

    sell(shop)

    assert Order.objects.get().status == "deleted"


# Receiving


def test_it_accepts_the_signature_of_paddles_own_test(make_connection):
    shop = make_connection("paddle", secret=REFERENCE_SECRET)
    signature = "ts=1696195954;h1=d96299976a6eb066f484d7fde011ac56fc32b38fc9940bc419d6e537fdc6ef02"
    headers = {"Paddle-Signature": signature}
    kind = KINDS["paddle"](shop)

    with time_machine.travel(datetime.fromtimestamp(1696195954, UTC)):
        kind.verify(Incoming(headers, b"hello-world"))
        with pytest.raises(Rejected):
            kind.verify(Incoming(headers, b"hello world"))


def test_a_wrong_signature_is_rejected(shop):
    body = json.dumps(make_event("transaction.completed", make_transaction())).encode()

    assert post(shop, body, Paddle_Signature=sign_for_paddle(body, secret="another")).status_code == 401
    assert not Event.objects.exists()


def test_an_old_signature_is_rejected(shop):
    old = timezone.now() - timedelta(minutes=6)

    assert post(shop, b"{}", Paddle_Signature=sign_for_paddle(b"{}", old)).status_code == 401


def test_a_missing_signature_is_rejected(shop):
    assert post(shop, b"{}").status_code == 400


# Catching up


def test_missed_transactions_name_their_sales(shop, api):
    fetched = make_transaction() | make_customer()
    api.answers["/live/transactions"] = {"data": [fetched], "meta": {"pagination": {"has_more": False}}}

    page = KINDS["paddle"](shop).list_missed(datetime(2026, 11, 1, tzinfo=UTC), None)

    assert (page.cursor, page.sales) == (None, {page.events[0].key: "txn_1"})


def test_missed_transactions_become_the_same_orders(shop, api, photo):
    fetched = make_transaction() | make_customer() | {"adjustments": [make_adjustment()]}
    api.answers["/live/transactions"] = {"data": [fetched], "meta": {"pagination": {"has_more": True}}}
    kind = KINDS["paddle"](shop)

    page = kind.list_missed(datetime(2026, 11, 1, tzinfo=UTC), None)

    assert page.cursor == "txn_1"
    assert not page.sales  # it has a refund, which may be new
    sell(shop)
    [missed] = page.events
    Event.objects.create(connection=shop, key=missed.key, topic=missed.topic, body=missed.body)
    process_due()
    assert Order.objects.get().status == "deleted"
