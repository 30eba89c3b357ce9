"""Orders of WooCommerce, in the shape of its REST API."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from orders.models import Order
from pools.models import LicenseKey
from shops.kinds import KINDS, woocommerce
from shops.models import Event, ExternalProduct
from shops.tests.api_server import list_orders
from shops.tests.factories import emails, post, process_due
from shops.tests.senders import make_order, sign

pytestmark = pytest.mark.django_db


@pytest.fixture
def photo(make_product):
    return make_product(sku="PHOTO-PRO")


def test_a_paid_order_gets_its_licenses(send, shop, photo):
    assert send(shop, make_order()).status_code == 200

    order = Order.objects.get()
    assert (order.number, order.email, order.status, order.currency) == ("727", "ada@example.com", "paid", "EUR")
    assert order.paid_at and order.paid_at.isoformat() == "2026-11-22T17:28:08+00:00"
    assert order.codes().count() == 2
    assert order.total() == Decimal("16.45")  # with shipping
    assert emails() == ["ada@example.com"]
    assert Event.objects.get().state == "done"


def test_the_ping_before_saving_is_accepted(shop):
    body = b"webhook_id=12"
    assert post(shop, body, "application/x-www-form-urlencoded").status_code == 200
    assert not Event.objects.exists()


def test_updates_of_a_known_order_change_nothing(send, shop, photo):
    for number in range(5):
        send(shop, make_order(customer_note=f"note {number}"))

    assert Order.objects.get().codes().count() == 2
    assert Event.objects.filter(state="done").count() == 5


def test_an_unpaid_order_is_parked_until_it_is_paid(send, shop, photo):
    send(shop, make_order(status="on-hold", date_paid_gmt=None))
    assert Event.objects.get().cause == "unpaid"

    send(shop, make_order())
    process_due()

    assert Order.objects.get().codes().count() == 2


@pytest.mark.parametrize("status", ["refunded", "cancelled", "failed"])
def test_a_full_refund_puts_the_keys_into_quarantine(send, shop, photo, status):
    send(shop, make_order())
    send(shop, make_order(status=status))

    assert Order.objects.get().status == "deleted"
    assert LicenseKey.objects.filter(withdrawn_because="refunded").count() == 2


def test_each_partial_refund_is_recorded_once(send, shop, photo):
    send(shop, make_order())
    refunds = [{"id": 726, "reason": "", "total": "-5.00"}]
    send(shop, make_order(refunds=refunds))
    send(shop, make_order(refunds=refunds, customer_note="again"))

    order = Order.objects.get()
    assert (order.status, order.left_to_refund()) == ("paid", Decimal("11.45"))


def test_a_renewal_belongs_to_its_subscription(send, shop, photo):
    for number in (727, 812):
        meta = [{"key": "_subscription_renewal", "value": "700"}]
        send(shop, make_order(id=number, number=str(number), meta_data=meta))

    assert set(Order.objects.values_list("items__subscription__reference", flat=True)) == {"700"}


def test_an_unknown_product_is_parked_and_listed(send, shop):
    send(shop, make_order())

    event = Event.objects.get()
    assert (event.state, event.cause, event.waits_for) == ("parked", "unmapped", ["PHOTO-PRO"])
    assert ExternalProduct.objects.get().name == "Photo Pro"
    assert not Order.objects.exists()


@pytest.mark.parametrize("signature", ["", "x", "JnetPnwJCy+iwPsTAg1m1UIIebgxbrNWotYPuQc7x3g="])
def test_a_wrong_signature_is_rejected(shop, signature):
    response = post(shop, make_order(), X_WC_Webhook_Signature=signature)

    assert response.status_code == 401
    assert not Event.objects.exists()
    shop.refresh_from_db()
    assert "signature" in shop.rejected_because


def test_the_reference_signature():
    assert sign(b'{"hello":"world"}', "secret") == "JnetPnwJCy+iwPsTAg1m1UIIebgxbrNWotYPuQc7x3g="


# Catching up


def modified(number, second, **fields):
    return make_order(id=number, number=str(number), date_modified_gmt=f"2026-11-22T17:00:{second:02}", **fields)


@pytest.fixture
def list_pages(make_connection, receiver, monkeypatch):
    """Read all pages, of two orders each. What happens in the store after each page is up to the caller."""
    monkeypatch.setattr(woocommerce, "PAGE_SIZE", 2)
    login = {"consumer_key": "ck_1", "consumer_secret": "cs_1"}
    shop = make_connection("woocommerce", values={"store": f"http://127.0.0.1:{receiver.port}"} | login)

    def read(orders, then=lambda: None):
        receiver.respond = lambda request: (200, {}, json.dumps(list_orders(orders, request.path)).encode())
        cursor = None
        found: list[int] = []
        while not found or cursor:
            page = KINDS["woocommerce"](shop).list_missed(datetime(2026, 11, 22, 17, tzinfo=UTC), cursor)
            cursor = json.loads(json.dumps(page.cursor))
            found += [json.loads(event.body)["id"] for event in page.events]
            then()
        return found

    return read


def test_old_orders_that_changed_are_fetched_by_the_time_of_the_change(list_pages, receiver):
    orders = [modified(1, 9, status="refunded"), modified(2, 5), modified(3, 0), modified(4, 7, status="pending")]
    orders += [modified(5, 8, status="cancelled"), modified(6, 8, status="cancelled", date_paid_gmt=None)]

    assert list_pages(orders) == [2, 5, 1]
    assert "modified_after=2026-11-22T17%3A00%3A00&" in receiver.received[0].path


def test_no_order_is_skipped_if_others_change_while_pages_are_read(list_pages):
    orders = [modified(number, number) for number in range(1, 8)]
    changes = iter([modified(1, 20), modified(2, 21, status="cancelled"), modified(3, 22)])

    def change():
        if order := next(changes, None):
            orders[order["id"] - 1] = order

    found = list_pages(orders, change)
    assert set(found) == set(range(1, 8))
    assert found.count(1) == found.count(2) == found.count(3) == 2  # once more with the change


def test_many_orders_that_changed_in_the_same_second_are_each_fetched_once(list_pages):
    orders = [modified(number, 30) for number in range(1, 8)]

    assert list_pages(orders) == [1, 2, 3, 4, 5, 6, 7]
