from datetime import timedelta

import pytest
from django.utils import timezone

from delivery.models import Delivery
from delivery.resending import resend
from fulfillment.actions import retry
from fulfillment.attention import needing_attention, newest_needing_attention
from fulfillment.models import Fulfillment
from merchants.models import CheckoutPage
from orders.models import Order
from pools.tests.factories import stock

LONG_AGO = timezone.now() - timedelta(hours=2)


@pytest.fixture
def order(pay, product, work):
    pay(product)
    work()
    return Order.objects.get()


@pytest.fixture
def waiting(pay, make_product):
    pay(make_product(keys=0))
    return Order.objects.get()


def orders_needing_attention(merchant=None):
    return list(needing_attention(Order.objects.all(), merchant))


def test_a_fulfilled_order_needs_no_attention(order):
    assert orders_needing_attention() == []


def test_an_order_with_a_failed_item_needs_attention(order):
    Fulfillment.objects.update(status="failed")

    assert orders_needing_attention() == [order]


def test_an_order_that_waits_for_keys_needs_attention_immediately(waiting):
    assert orders_needing_attention() == [waiting]


@pytest.mark.parametrize("status", ["waiting", "pending"])
def test_an_order_that_is_retried_needs_attention_after_an_hour(waiting, status):
    now = timezone.now()
    Fulfillment.objects.update(status=status, due_at=now, ended_at=None)
    assert orders_needing_attention() == []

    Fulfillment.objects.update(created_at=LONG_AGO, due_at=LONG_AGO)

    assert orders_needing_attention() == [waiting]


def test_an_order_that_a_person_retries_needs_no_attention_meanwhile(waiting):
    Fulfillment.objects.update(created_at=LONG_AGO)

    retry(waiting.items.get(), actor="Sam")

    assert orders_needing_attention() == []


def test_an_order_that_is_no_longer_paid_needs_no_attention(waiting):
    Fulfillment.objects.update(created_at=LONG_AGO)
    Order.objects.update(status="deleted")

    assert orders_needing_attention() == []


def test_a_failed_email_needs_attention_until_a_resend_succeeds(order, work):
    Delivery.objects.update(status="failed")
    assert orders_needing_attention() == [order]

    resend(order.items.get(), actor="Sam")
    work()

    assert orders_needing_attention() == []


def test_a_late_email_needs_attention(order):
    Delivery.objects.update(status="queued", created_at=LONG_AGO, due_at=LONG_AGO)

    assert orders_needing_attention() == [order]


def test_it_lists_only_the_merchants_orders(order, merchant, outsider):
    Fulfillment.objects.update(status="failed")

    assert (orders_needing_attention(merchant), orders_needing_attention(outsider)) == ([order], [])


def test_a_failed_email_needs_attention_even_if_another_code_was_sent(pay, make_product, make_pool, work):
    pool = make_pool(1)
    pay(make_product(pool=pool), quantity=2)
    Delivery.objects.get().end(status="failed", reason="No such address.")

    stock(pool, 1)
    work()

    assert [delivery.status for delivery in Delivery.objects.order_by("pk")] == ["failed", "sent"]
    assert orders_needing_attention() == [Order.objects.get()]


def test_an_unsent_email_needs_attention_once_delivery_is_allowed(pay, product, work):
    pay(product)
    CheckoutPage.objects.update(delivery_allowed=False)
    work()
    assert orders_needing_attention() == []

    CheckoutPage.objects.update(delivery_allowed=True)

    assert orders_needing_attention() == [Order.objects.get()]


def test_orders_that_need_attention_are_listed_page_by_page(pay, make_product, make_pool, work, outsider):
    product = make_product(pool=make_pool(4))
    for _ in range(4):
        pay(product)
    pay(make_product(keys=0), make_product(keys=0))
    work()
    first, second, third, _, last = Order.objects.order_by("pk").values_list("pk", flat=True)
    Delivery.objects.filter(order__in=[first, third]).update(status="failed")
    Delivery.objects.filter(order=second).update(status="queued", created_at=LONG_AGO, due_at=LONG_AGO)
    Fulfillment.objects.filter(item__order__in=[third, last]).update(status="failed")
    merchant = Order.objects.get(pk=last).merchant

    assert newest_needing_attention(3, merchant) == newest_needing_attention(3) == [last, third, second]
    assert newest_needing_attention(3, merchant, before=second) == [first]
    assert newest_needing_attention(3, outsider) == []


def test_unfinished_work_names_its_order(order):
    fulfillment = Fulfillment.objects.get()
    assert fulfillment.order_id is None

    fulfillment.status = "failed"
    fulfillment.save()

    fulfillment.refresh_from_db()
    assert fulfillment.order == order
