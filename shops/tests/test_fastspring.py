"""Events of FastSpring, several in a request, in the shape of its webhooks with expansion."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from orders.models import Order
from pools.models import LicenseKey
from shops.models import Event
from shops.tests.api_server import fetch_missed, serve
from shops.tests.factories import emails, post, process_due, subscriptions
from shops.tests.senders import sign

pytestmark = pytest.mark.django_db


def make_item(**fields):
    return {
        "product": "photo-pro",
        "quantity": 2,
        "display": "Photo Pro",
        "sku": "PHOTO-PRO",
        "subtotal": 50.0,
        "discount": 0.0,
        "fulfillments": {},
    } | fields


def make_order(**fields):
    return {
        "order": "9qflPQrkR76oKDLObXguyg",
        "id": "9qflPQrkR76oKDLObXguyg",
        "reference": "NOR261122-7652-55291",
        "completed": True,
        "changed": 1795521600638,
        "changedInSeconds": 1795521600,
        "language": "en",
        "live": True,
        "currency": "EUR",
        "account": {"id": "NbNDzguWR5", "contact": {"email": "ada@example.com"}, "country": "GB"},
        "total": 59.5,
        "tax": 9.5,
        "subtotal": 50.0,
        "customer": {"first": "Ada", "last": "Byron", "email": "ada@example.com", "company": None},
        "address": {"city": "London", "country": "GB"},
        "items": [make_item()],
    } | fields


def make_charge(order_id="rebill-1", reference="NOR271122-1", **fields):
    subscription = {"id": "sub-7", "intervalUnit": "year", "intervalLength": 1}
    order = make_order(id=order_id, order=order_id, reference=reference, items=[make_item(subscription="sub-7")])
    return {
        "order": order,
        "subscription": subscription,
        "currency": "EUR",
        "total": 59.5,
        "status": "successful",
    } | fields


def make_return(amount=59.5, **fields):
    return {
        "return": "qWIaFaLlRgu6NYs7MgHkGA",
        "reference": "NOR261125-8960-65188X",
        "live": True,
        "currency": "EUR",
        "totalReturn": amount,
        "original": {"id": "9qflPQrkR76oKDLObXguyg", "reference": "NOR261122-7652-55291"},
    } | fields


def make_event(topic="order.completed", data=None, **fields):
    data = make_order() if data is None else data
    return {"id": f"event {topic}", "type": topic, "live": True, "processed": False, "created": 1795521600836} | {
        "data": data
    } | fields  # fmt: skip


@pytest.fixture
def shop(make_connection):
    return make_connection("fastspring")


@pytest.fixture
def photo(make_product):
    return make_product(sku="PHOTO-PRO")


def send(shop, *events):
    body = json.dumps({"events": events}).encode()
    response = post(shop, body, X_FS_Signature=sign(body))
    process_due()
    return response


def test_a_completed_order_gets_its_licenses(shop, photo):
    response = send(shop, make_event())

    assert (response.status_code, response.content) == (200, b"")
    order = Order.objects.get()
    assert (order.number, order.email, order.country) == ("NOR261122-7652-55291", "ada@example.com", "GB")
    assert order.paid_at == datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert (order.total(), order.codes().count()) == (Decimal("59.50"), 2)
    assert emails() == ["ada@example.com"]


def test_each_event_of_a_request_is_processed(shop, photo):
    other = make_order(id="other", reference="NOR-2")
    assert send(shop, make_event(), make_event(id="second", data=other)).status_code == 200

    assert Order.objects.count() == 2


def test_events_that_cannot_be_taken_are_left_to_be_repeated(shop, photo):
    response = send(shop, make_event(), {"type": "order.completed"}, make_event("subscription.canceled"), 7)

    assert response.status_code == 202
    assert response.content.decode().splitlines() == ["event order.completed", "event subscription.canceled"]
    assert Event.objects.count() == 2


def test_more_events_than_we_take_at_once_are_left_to_be_repeated(shop, photo, monkeypatch):
    monkeypatch.setattr("shops.inbox.MAX_EVENTS", 1)
    response = send(shop, make_event(), make_event(id="second"))

    assert (response.status_code, response.content) == (202, b"event order.completed")


def test_an_event_is_processed_once_and_a_manual_repetition_changes_nothing(shop, photo):
    send(shop, make_event())
    send(shop, make_event())
    send(shop, make_event(id="a new id"))

    assert Event.objects.count() == 2
    assert Order.objects.get().codes().count() == 2


def test_tax_and_discount_are_divided_among_the_items(shop, photo, make_product):
    make_product(sku="video")
    items = [make_item(subtotal=20.0), make_item(product="video", sku=None, quantity=1, subtotal=10.0)]
    send(shop, make_event(data=make_order(items=items, total=100.0)))

    totals = Order.objects.get().items.order_by("pk").values_list("total_price", flat=True)
    assert list(totals) == [Decimal("66.67"), Decimal("33.33")]


@pytest.mark.parametrize(("currency", "total"), [("JPY", 900.0), ("KWD", 1.525)])
def test_a_currency_has_its_own_decimals(shop, photo, currency, total):
    send(shop, make_event(data=make_order(currency=currency, total=total)))

    assert Order.objects.get().total() == Decimal(str(total))


def test_an_order_can_also_have_goods_without_a_license(shop, photo):
    items = [make_item(), make_item(product="box", sku="BOX", display="Box", quantity=1, subtotal=0.0)]
    send(shop, make_event(data=make_order(items=items)))

    order = Order.objects.get()
    assert (order.items.count(), order.other_items.count(), order.codes().count()) == (1, 1, 2)
    assert Event.objects.get().waits_for == ["box"]


def test_a_renewal_belongs_to_its_subscription(shop, photo):
    first = {"id": "sub-7", "subscription": "sub-7", "intervalUnit": "year", "intervalLength": 1}
    send(shop, make_event(data=make_order(items=[make_item(subscription=first)])))
    send(shop, make_event("subscription.charge.completed", make_charge()))

    assert subscriptions() == [("sub-7", "P1Y")] * 2


def test_a_charge_with_only_ids_says_what_to_switch_on(shop, photo):
    send(shop, make_event("subscription.charge.completed", {"order": "abc", "subscription": "sub-7"}))

    event = Event.objects.get()
    assert event.state == "parked"
    assert "Webhook Expansion" in event.reason


def test_a_full_return_puts_the_keys_into_quarantine(shop, photo):
    send(shop, make_event(), make_event("return.created", make_return()))

    assert Order.objects.get().status == "deleted"
    assert LicenseKey.objects.filter(withdrawn_because="refunded").count() == 2


def test_a_partial_return_is_recorded_once(shop, photo):
    send(shop, make_event())
    send(shop, make_event("return.created", make_return(20.0)))
    send(shop, make_event("return.created", make_return(20.0), id="a new id"))

    order = Order.objects.get()
    assert (order.status, order.left_to_refund()) == ("paid", Decimal("39.50"))


def test_a_return_before_its_order_takes_effect_after_it(shop, photo):
    send(shop, make_event("return.created", make_return()))
    assert Event.objects.get().cause == "no_sale"

    send(shop, make_event())
    process_due()
    assert Order.objects.get().status == "deleted"


def test_a_cancellation_is_ignored_with_a_reason(shop, photo):
    send(shop, make_event("subscription.canceled", {"id": "sub-7"}))

    event = Event.objects.get()
    assert event.state == "ignored" and "subscription.canceled" in event.reason


def test_a_test_order_goes_to_the_sandbox(shop, photo, merchant):
    send(shop, make_event(live=False))

    assert Order.objects.get().merchant.live == merchant
    assert not merchant.orders.exists()


@pytest.mark.parametrize("signature", ["", "x", "JnetPnwJCy+iwPsTAg1m1UIIebgxbrNWotYPuQc7x3g="])
def test_a_wrong_signature_is_rejected(shop, signature):
    assert post(shop, {"events": [make_event()]}, X_FS_Signature=signature).status_code == 401
    assert not Event.objects.exists()


def test_the_reference_signature(make_connection):
    shop = make_connection("fastspring", secret="secret")
    signature = "JnetPnwJCy+iwPsTAg1m1UIIebgxbrNWotYPuQc7x3g="

    response = post(shop, b'{"hello":"world"}', X_FS_Signature=signature)
    assert (response.status_code, response.content) == (400, b"The request has no list of events.\n")


def test_it_fetches_missed_events_in_shorter_spans_until_all_fit(make_connection, photo, receiver, monkeypatch):
    second = make_event(id="second", data=make_order(id="other", reference="NOR-2"))
    pages = [{"more": True, "events": [make_event()]}, {"events": [make_event()]}, {"events": [second]}]
    monkeypatch.setattr("shops.kinds.fastspring.FastSpring.api", serve(receiver, {"unprocessed": pages}))
    shop = make_connection("fastspring", values={"api_user": "user", "api_password": "password"})

    fetch_missed(shop, datetime(2026, 11, 20, tzinfo=UTC))
    process_due()

    assert Order.objects.count() == 2
    spans = [received.path.partition("?")[2] for received in receiver.received]
    begin, end = spans[0].split("&")
    assert spans[1].startswith(begin) and spans[2].endswith(end)
    assert receiver.received[0].headers["authorization"] == "Basic dXNlcjpwYXNzd29yZA=="
