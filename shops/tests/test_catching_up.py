"""Orders that a shop had while we were down are fetched from its API, page by page."""

import json
from base64 import b64decode
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.utils import timezone

from orders.models import Order
from shops.catching_up import catch_up, request, request_daily
from shops.kinds import KINDS, woocommerce
from shops.models import CatchUp, Connection, Event
from shops.tests.api_server import list_orders
from shops.tests.factories import process_due
from shops.tests.senders import make_order

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def store(receiver, monkeypatch):
    """A WooCommerce store with three paid orders, two to a page."""
    monkeypatch.setattr(woocommerce, "PAGE_SIZE", 2)
    changed = f"{timezone.now():%Y-%m-%dT%H:%M:%S}"
    orders = [make_order(id=number, number=str(number), date_modified_gmt=changed) for number in (727, 728, 729)]

    def respond(received):
        return 200, {"Content-Type": "application/json"}, json.dumps(list_orders(orders, received.path)).encode()

    receiver.respond = respond
    return receiver


@pytest.fixture
def shop(make_connection, store):
    login = {"consumer_key": "ck_1", "consumer_secret": "cs_1"}
    return make_connection("woocommerce", values={"store": f"http://127.0.0.1:{store.port}/"} | login)


def fetch_all():
    while rows := list(CatchUp.objects.due()):
        for row in rows:
            catch_up(row.pk)
    process_due()


def test_missed_orders_are_fetched_and_delivered(store, shop, make_product):
    make_product(sku="PHOTO-PRO")
    request(shop, timezone.now() - timedelta(days=1))
    fetch_all()

    assert sorted(Order.objects.values_list("number", flat=True)) == ["727", "728", "729"]
    assert CatchUp.objects.get().found == 3
    assert [urlsplit(received.path).path for received in store.received] == ["/wp-json/wc/v3/orders"] * 2
    login = store.received[0].headers["authorization"].removeprefix("Basic ")
    assert b64decode(login) == b"ck_1:cs_1"


@pytest.mark.parametrize("kind", ["woocommerce", "shopify"])
def test_the_address_of_a_store_needs_no_scheme(kind, make_connection):
    shop = make_connection(kind, values={"store": "shop.example.com/"})

    assert KINDS[kind](shop).store == "https://shop.example.com"


def test_a_missed_cancellation_withdraws_the_licenses(send, store, shop, make_product):
    make_product(sku="PHOTO-PRO")
    send(shop, make_order(id=728, number="728"))
    changed = {"status": "cancelled", "date_modified_gmt": f"{timezone.now():%Y-%m-%dT%H:%M:%S}"}
    orders = [make_order(id=728, number="728", **changed), make_order(id=729, date_paid_gmt=None, **changed)]
    store.respond = lambda received: (
        200,
        {"Content-Type": "application/json"},
        json.dumps(list_orders(orders, received.path)).encode(),
    )

    request(shop, timezone.now() - timedelta(days=1))
    fetch_all()

    assert Order.objects.get().status == Order.Status.DELETED
    assert CatchUp.objects.get().found == 1


def test_known_orders_are_recognized(send, store, shop, make_product):
    make_product(sku="PHOTO-PRO")
    send(shop, make_order(id=728, number="728"))
    for _ in range(2):
        request(shop, timezone.now() - timedelta(days=1))
        fetch_all()

    assert Order.objects.count() == Event.objects.count() == 3
    assert [row.found for row in CatchUp.objects.order_by("pk")] == [2, 0]


def test_a_failing_shop_is_asked_again(store, shop):
    store.respond = lambda received: (503,)
    request(shop, timezone.now() - timedelta(days=1))
    catch_up(CatchUp.objects.get().pk)

    row = CatchUp.objects.get()
    assert row.due_at and row.reason == "The shop answered 503."


def test_a_rejected_key_ends_it_with_the_reason(store, shop):
    store.respond = lambda received: (401,)
    request(shop, timezone.now() - timedelta(days=1))
    catch_up(CatchUp.objects.get().pk)

    row = CatchUp.objects.get()
    assert row.ended_at and row.reason == "The shop answered 401. Check the API key."


def test_it_happens_every_day_for_connections_with_access(shop, make_connection):
    make_connection("woocommerce", name="Without keys")
    for _ in range(2):
        request_daily()
    assert CatchUp.objects.get().connection == shop

    CatchUp.objects.update(created_at=timezone.now() - timedelta(hours=25), due_at=None, ended_at=timezone.now())
    request_daily()
    assert CatchUp.objects.count() == 2


def test_a_disabled_connection_fetches_nothing(shop):
    Connection.objects.update(disabled_at=timezone.now())
    request_daily()

    assert not CatchUp.objects.exists()
