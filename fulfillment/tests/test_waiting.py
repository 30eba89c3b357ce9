"""Items that wait for an empty pool, and what happens when it is restocked."""

import pytest
from django.core.exceptions import ValidationError

from fulfillment import engine, tasks
from fulfillment.models import Fulfillment
from fulfillment.sources.pool.models import PoolMethod
from fulfillment.sources.pool.source import PoolSource
from orders.models import Order
from orders.services import refund
from pools.tests.factories import stock


def states():
    return dict(Fulfillment.objects.values_list("item__order__number", "status"))


def number_of_codes(number):
    order = Order.objects.get(number=number)
    return sum(item.activation_codes.count() for item in order.items.all())


def test_a_short_pool_issues_what_it_has_and_the_item_waits(pay, make_product):
    answer = pay(make_product(keys=2, name="Pro", sku="PRO"), quantity=3)

    (item,) = answer["items"]
    assert item["fulfillment"] == "waiting"
    assert item["reason"] == "The pool “Pool of PRO” has no keys left."
    assert [code["delivery"] for code in item["activation_codes"]] == ["queued", "queued"]


def test_an_import_serves_waiting_items_oldest_payment_first(pay, make_product, merchant, work):
    product = make_product(keys=0)
    pay(product, order="LATE", paid_at="2026-11-22T12:00:00Z")
    pay(product, order="FIRST", paid_at="2026-11-22T09:00:00Z", quantity=2)
    pay(product, order="SECOND", paid_at="2026-11-22T10:00:00Z")

    stock(merchant.pools.get(), 2)
    work()
    assert states() == {"FIRST": "done", "SECOND": "waiting", "LATE": "waiting"}

    stock(merchant.pools.get(), 1)
    work()
    assert states() == {"FIRST": "done", "SECOND": "done", "LATE": "waiting"}


def test_the_missing_codes_are_sent_in_one_email(pay, make_product, merchant, work, mailoutbox):
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


def test_a_repeated_attempt_issues_no_more_keys(pay, make_product, merchant):
    pay(make_product(keys=10), quantity=2)
    fulfillment = Fulfillment.objects.get()

    engine.top_up(fulfillment)
    Fulfillment.objects.update(status="waiting")
    engine.serve_waiting(merchant.pools.get())

    assert merchant.pools.get().keys.issued().count() == 2
    assert Fulfillment.objects.get().status == "done"


def test_a_refunded_order_gets_no_keys(pay, make_product, merchant, work):
    pay(make_product(keys=0))
    refund(Order.objects.get(), actor="shop")

    stock(merchant.pools.get(), 1)
    work()

    assert merchant.pools.get().keys.available().count() == 1
    assert Fulfillment.objects.get().reason == "The order is deleted."


def test_the_sweep_finds_items_that_wait_for_a_pool_with_keys(pay, make_product, merchant, monkeypatch):
    pay(make_product(keys=0), order="A1")
    stock(merchant.pools.get(), 1)
    published = []
    monkeypatch.setattr("fulfillment.tasks.publish", lambda task, pk: published.append((task, pk)))

    tasks.sweep()

    assert published == [("fulfillment.tasks.serve_pool", merchant.pools.get().pk)]
    tasks.serve_pool(merchant.pools.get().pk)
    assert states() == {"A1": "done"}
    published.clear()
    tasks.sweep()
    assert published == []


@pytest.mark.django_db(transaction=True)
def test_an_import_makes_a_worker_serve_waiting_items(pay, make_product, merchant, monkeypatch):
    pay(make_product(keys=0), order="A1")
    monkeypatch.setattr("fulfillment.receivers.publish", lambda task, pk: tasks.serve_pool(pk))

    stock(merchant.pools.get(), 1)

    assert states() == {"A1": "done"}


@pytest.mark.django_db(transaction=True)
def test_a_pool_is_served_by_one_worker_at_a_time(pay, make_product, merchant, in_threads, monkeypatch):
    for _ in range(3):
        pay(make_product(keys=0, pool=merchant.pools.first()))
    stock(merchant.pools.get(), 3)
    served = []
    top_up_at_once = engine.top_up_at_once

    def count_calls(pks):
        served.extend(pks)
        top_up_at_once(pks)

    monkeypatch.setattr("fulfillment.engine.top_up_at_once", count_calls)

    in_threads(lambda _: engine.serve_waiting(merchant.pools.get()), range(4), threads=4)

    assert set(states().values()) == {"done"}
    assert len(served) == 3


def test_the_next_pool_supplies_what_the_first_one_lacks(pay, make_product, make_pool):
    product = make_product(keys=1)
    reserve = make_pool(5, name="Reserve")
    PoolMethod.objects.create(product=product, position=2, pool=reserve)

    answer = pay(product, quantity=3)

    assert answer["items"][0]["fulfillment"] == "done"
    assert reserve.keys.issued().count() == 2


def test_an_item_without_a_source_waits_and_the_merchant_gets_one_notice(
    pay, make_product, make_pool, work, mailoutbox
):
    product = make_product(source=None)
    answer = pay(product)
    work()
    work()

    assert answer["items"][0]["fulfillment"] == "waiting"
    assert answer["items"][0]["reason"] == "The product has no sources."
    (message,) = mailoutbox
    assert "couldn’t be fulfilled" in message.subject

    PoolMethod.objects.create(product=product, pool=make_pool(1))
    work()
    assert Fulfillment.objects.get().status == "done"


def test_a_pool_of_another_merchant_issues_nothing(pay, make_product, make_pool, outsider):
    pool = make_pool(1, merchant=outsider)

    answer = pay(make_product(pool=pool))

    assert answer["items"][0]["fulfillment"] == "failed"
    assert "belongs to another merchant" in answer["items"][0]["reason"]
    with pytest.raises(ValidationError, match="belongs to Outsider"):
        pool.fulfillment_methods.get().full_clean()


def test_an_item_that_keeps_raising_errors_shows_them_and_finally_fails(pay, product, monkeypatch, work):
    monkeypatch.setattr("fulfillment.sources.pool.source.take_keys", lambda *args: 1 / 0)
    pay(product)
    work()
    assert "Something went wrong on our side" in Fulfillment.objects.get().reason

    Fulfillment.objects.update(due_at="2026-01-01T00:00:00Z", failing_since="2026-01-01T00:00:00Z")
    work()

    assert Fulfillment.objects.get().status == "failed"


def test_a_source_that_raises_doesnt_lose_the_payment(pay, product, monkeypatch, work, caplog):
    monkeypatch.setattr("fulfillment.sources.pool.source.take_keys", lambda *args: 1 / 0)
    answer = pay(product)
    assert answer["items"][0]["fulfillment"] == "pending"
    assert "will be asked again" in caplog.text

    monkeypatch.undo()
    work()

    assert Fulfillment.objects.get().status == "done"


def test_an_item_that_raises_doesnt_block_the_others(pay, make_product, merchant, monkeypatch, work):
    product = make_product(keys=0)
    pay(product, order="BROKEN", paid_at="2026-11-22T09:00:00Z")
    pay(product, order="SOUND", paid_at="2026-11-22T10:00:00Z")
    issue_all = PoolSource.issue_all

    def break_first(requests):
        if any(request.item.order.number == "BROKEN" for request in requests):
            raise ZeroDivisionError
        issue_all(requests)

    monkeypatch.setattr(PoolSource, "issue_all", break_first)
    stock(merchant.pools.get(), 1)
    work()

    assert states() == {"BROKEN": "waiting", "SOUND": "done"}


@pytest.mark.django_db(transaction=True)
def test_concurrent_payments_are_all_served_once_there_are_keys(pay, make_product, merchant, in_threads, work):
    product = make_product(keys=50)
    in_threads(lambda number: pay(product, quantity=1 + number % 3), range(60), threads=12)
    assert merchant.pools.get().keys.available().count() == 0

    missing = 120 - 50
    stock(merchant.pools.get(), missing)
    work()

    assert set(states().values()) == {"done"}
    assert merchant.pools.get().keys.issued().count() == 120
