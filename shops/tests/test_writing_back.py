"""Codes are saved in the shop's order once they are all there."""

import json
from urllib.parse import parse_qsl

import pytest
from django.utils import timezone

from api.tests.factories import place
from orders.models import Order
from shops.kinds.shopify import Shopify
from shops.kinds.stripe import Stripe
from shops.models import SaleReference, WriteBack
from shops.tests.senders import make_order
from shops.writing_back import write_back

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def store(receiver):
    """A WooCommerce order with meta data."""
    receiver.meta = []

    def respond(received):
        if received.method == "PUT":
            receiver.meta = json.loads(received.body)["meta_data"]
        return 200, {"Content-Type": "application/json"}, json.dumps({"meta_data": receiver.meta}).encode()

    receiver.respond = respond
    return receiver


@pytest.fixture
def shop(make_connection, store):
    values = {"store": f"http://127.0.0.1:{store.port}", "consumer_key": "ck_1", "consumer_secret": "cs_1"}
    return make_connection("woocommerce", values=values, writes_back=True)


def try_again():
    WriteBack.objects.update(due_at=timezone.now())
    write_back(WriteBack.objects.get().pk)


def test_the_codes_and_a_note_are_saved_in_the_order(send, store, shop, make_product):
    make_product(sku="PHOTO-PRO")
    send(shop, make_order())
    write_back(WriteBack.objects.get().pk)

    order = Order.objects.get()
    codes = "\n".join(code.code for code in order.codes())
    assert {entry["key"]: entry["value"] for entry in store.meta} == {
        "_keywell_codes": codes,
        "_keywell_order_url": order.url,
    }
    note = store.received[-1]
    assert note.path == "/wp-json/wc/v3/orders/727/notes" and codes in json.loads(note.body)["note"]
    assert WriteBack.objects.get().ended_at


def test_it_waits_until_the_order_has_all_codes(send, store, shop, make_product):
    make_product(keys=1, sku="PHOTO-PRO")
    send(shop, make_order())
    write_back(WriteBack.objects.get().pk)

    assert not store.received
    row = WriteBack.objects.get()
    assert row.due_at and row.reason == "The order doesn’t have all its codes yet."


def test_once_written_nothing_is_written_again(send, store, shop, make_product):
    make_product(sku="PHOTO-PRO")
    send(shop, make_order())
    write_back(WriteBack.objects.get().pk)
    before = len(store.received)
    try_again()

    assert [received.method for received in store.received[before:]] == ["GET"]


def test_a_failing_shop_is_asked_again(send, store, shop, make_product):
    make_product(sku="PHOTO-PRO")
    store.respond = lambda received: (500,)
    send(shop, make_order())
    write_back(WriteBack.objects.get().pk)

    assert WriteBack.objects.get().due_at


def test_a_refunded_order_is_not_written(send, store, shop, make_product):
    make_product(sku="PHOTO-PRO")
    send(shop, make_order())
    send(shop, make_order(status="refunded"))
    write_back(WriteBack.objects.get().pk)

    assert not store.received


def test_the_log_holds_no_codes(send, store, shop, make_product, merchant):
    make_product(sku="PHOTO-PRO")
    send(shop, make_order())
    write_back(WriteBack.objects.get().pk)

    codes = [code.code for code in Order.objects.get().codes()]
    rows = merchant.outgoing_requests.all()
    assert rows.count() == 3
    assert not [row for row in rows if any(code in row.sent + row.answer + row.url for code in codes)]


def test_connections_that_do_not_ask_for_it_write_nothing(send, make_connection, make_product):
    make_product(sku="PHOTO-PRO")
    send(make_connection("woocommerce"), make_order())

    assert not WriteBack.objects.exists()
    assert Order.objects.exists()


def make_order_of(merchant, product, make_payment, shop, *references):
    order = place(merchant, make_payment(product))
    for number, reference in enumerate(references):
        SaleReference.objects.create(connection=shop, order=order, reference=reference, is_own=not number)
    return order


@pytest.fixture
def stripe(receiver, make_connection, monkeypatch):
    monkeypatch.setattr(Stripe, "api", f"http://127.0.0.1:{receiver.port}")
    receiver.respond = lambda received: (200, {}, b"{}")
    return make_connection("stripe", values={"api_key": "rk_1"})


def test_stripe_gets_them_as_metadata_of_the_payment(receiver, stripe, product, make_payment, merchant):
    order = make_order_of(merchant, product, make_payment, stripe, "cs_1", "pi_1")
    Stripe(stripe).write_back("cs_1", order, ["AAAA-1", "BBBB-2"])

    request = receiver.received[0]
    assert (request.method, request.path) == ("POST", "/v1/payment_intents/pi_1")
    saved = {"metadata[keywell_order_url]": order.url, "metadata[keywell_licenses]": "AAAA-1\nBBBB-2"}
    assert dict(parse_qsl(request.body.decode())) == saved


def test_stripe_gets_only_the_link_if_they_are_too_long(receiver, stripe, product, make_payment, merchant):
    order = make_order_of(merchant, product, make_payment, stripe, "pi_1")
    Stripe(stripe).write_back("pi_1", order, ["A" * 501])

    assert dict(parse_qsl(receiver.received[0].body.decode())) == {"metadata[keywell_order_url]": order.url}


def test_shopify_gets_them_as_metafields_of_the_order(receiver, make_connection, product, make_payment, merchant):
    receiver.respond = lambda received: (200, {}, b"{}")
    values = {"store": f"http://127.0.0.1:{receiver.port}", "access_token": "shpat_1"}
    shop = make_connection("shopify", values=values)
    order = make_order_of(merchant, product, make_payment, shop, "450789469")
    Shopify(shop).write_back("450789469", order, ["AAAA-1", "BBBB-2"])

    request = receiver.received[0]
    assert request.method == "PUT" and request.path.endswith("/orders/450789469.json")
    content = json.loads(request.body)["order"]
    assert content["id"] == 450789469
    assert {field["key"]: field["value"] for field in content["metafields"]} == {
        "licenses": "AAAA-1\nBBBB-2",
        "order_url": order.url,
    }
