"""Pools that run dry, and what happens when they are filled."""

import pytest

from conftest import stock
from fulfillment import services, tasks
from fulfillment.models import Delivery, Fulfillment
from orders.models import Order
from orders.services import refund


def states():
    return dict(Fulfillment.objects.values_list("item__order__number", "status"))


def number_of_codes(number):
    order = Order.objects.get(number=number)
    return sum(item.activation_codes.count() for item in order.items.all())


def test_what_is_there_is_given_and_the_rest_waits_with_its_reason(pay, make_product):
    answer = pay(make_product(keys=2, name="Pro", sku="PRO"), quantity=3)

    (item,) = answer["items"]
    assert item["fulfillment"] == "waiting"
    assert item["reason"] == "The pool “Pool of PRO” has no keys left."
    assert [code["delivery"] for code in item["activation_codes"]] == ["queued", "queued"]


def test_an_import_serves_waiting_items_oldest_payment_first(pay, make_product, merchant):
    product = make_product(keys=0)
    pay(product, order="LATE", paid_at="2026-11-22T12:00:00Z")
    pay(product, order="FIRST", paid_at="2026-11-22T09:00:00Z", quantity=2)
    pay(product, order="SECOND", paid_at="2026-11-22T10:00:00Z")

    stock(merchant.pools.get(), 2)
    assert states() == {"FIRST": "done", "SECOND": "waiting", "LATE": "waiting"}

    stock(merchant.pools.get(), 1)
    assert states() == {"FIRST": "done", "SECOND": "done", "LATE": "waiting"}


def test_the_missing_codes_come_in_one_mail(pay, make_product, merchant, work, mailoutbox):
    answer = pay(make_product(keys=1), quantity=3)
    work()
    mailoutbox.clear()

    stock(merchant.pools.get(), 5)
    work()

    (message,) = mailoutbox
    sent = answer["items"][0]["activation_codes"][0]["code"]
    assert sent not in message.body
    assert message.body.count("-KEY-") == 2
    assert merchant.pools.get().keys.available().count() == 3


def test_asking_again_never_gives_more(pay, make_product, merchant):
    pay(make_product(keys=10), quantity=2)
    fulfillment = Fulfillment.objects.get()

    services.top_up(fulfillment)
    Fulfillment.objects.update(status="waiting")
    services.serve_waiting(merchant.pools.get())

    assert merchant.pools.get().keys.issued().count() == 2
    assert Fulfillment.objects.get().status == "done"


def test_a_refunded_order_gets_nothing_any_more(pay, make_product, merchant):
    pay(make_product(keys=0))
    refund(Order.objects.get(), by="shop")

    stock(merchant.pools.get(), 1)

    assert merchant.pools.get().keys.available().count() == 1
    assert Fulfillment.objects.get().reason == "The order is deleted."


def test_a_key_that_comes_back_by_rollback_is_found_by_the_sweep(pay, make_product, merchant):
    product = make_product(keys=0)
    pay(product, order="A1")
    pool = merchant.pools.get()
    stock_without_telling(pool)

    tasks.sweep()

    assert states() == {"A1": "done"}


def stock_without_telling(pool):
    from pools.signals import pool_refilled

    receivers, pool_refilled.receivers = pool_refilled.receivers, []
    pool_refilled.sender_receivers_cache.clear()
    try:
        stock(pool, 1)
    finally:
        pool_refilled.receivers = receivers
        pool_refilled.sender_receivers_cache.clear()


def test_what_one_pool_lacks_the_next_in_line_gives(pay, make_product, make_pool):
    product = make_product(keys=1)
    reserve = make_pool(5, name="Reserve")
    product.fulfillment_methods.create(position=2, source="pool", pool=reserve)

    answer = pay(product, quantity=3)

    assert answer["items"][0]["fulfillment"] == "done"
    assert reserve.keys.issued().count() == 2


def test_a_product_without_a_source_fails_and_the_merchant_is_told(pay, make_product, work, mailoutbox):
    answer = pay(make_product(source=None))
    work()

    assert answer["items"][0]["fulfillment"] == "failed"
    assert answer["items"][0]["reason"] == "No fulfillment method is set up for the product."
    assert "could not be fulfilled" in mailoutbox[0].subject


def test_a_source_that_breaks_does_not_take_the_payment_with_it(pay, product, monkeypatch, work, caplog):
    monkeypatch.setattr("fulfillment.sources.pool.allocate_keys", lambda *args: 1 / 0)
    answer = pay(product)
    assert answer["items"][0]["fulfillment"] == "pending"
    assert "will be tried again" in caplog.text

    monkeypatch.undo()
    work()

    assert Fulfillment.objects.get().status == "done"


def test_an_item_that_breaks_does_not_hold_up_the_others(pay, make_product, merchant, monkeypatch):
    product = make_product(keys=0)
    pay(product, order="BROKEN", paid_at="2026-11-22T09:00:00Z")
    pay(product, order="SOUND", paid_at="2026-11-22T10:00:00Z")
    top_up = services.top_up

    def break_first(fulfillment, **kwargs):
        if fulfillment.item.order.number == "BROKEN":
            raise ZeroDivisionError
        top_up(fulfillment, **kwargs)

    monkeypatch.setattr("fulfillment.services.top_up", break_first)
    stock(merchant.pools.get(), 1)

    assert states() == {"BROKEN": "waiting", "SOUND": "done"}


@pytest.mark.django_db(transaction=True)
def test_payments_that_race_are_all_served_once_there_are_keys(pay, make_product, merchant, in_threads, work):
    product = make_product(keys=50)
    in_threads(lambda number: pay(product, quantity=1 + number % 3), range(60), threads=12)
    assert merchant.pools.get().keys.available().count() == 0

    missing = 120 - 50
    stock(merchant.pools.get(), missing)

    assert set(states().values()) == {"done"}
    assert merchant.pools.get().keys.issued().count() == 120
    assert Delivery.objects.filter(status="queued").count() >= 60
