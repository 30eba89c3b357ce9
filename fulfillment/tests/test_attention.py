from datetime import timedelta

import pytest
from django.utils import timezone

from delivery.models import Delivery
from delivery.resending import resend
from fulfillment.attention import needing_attention
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


def wanted(merchant=None):
    return list(needing_attention(Order.objects.all(), merchant))


def test_an_order_that_went_well_needs_none(order):
    assert wanted() == []


def test_an_item_that_failed_needs_it(order):
    Fulfillment.objects.update(status="failed")

    assert wanted() == [order]


def test_an_item_that_waits_for_long_needs_it(waiting):
    assert wanted() == []

    Fulfillment.objects.update(created_at=LONG_AGO)

    assert wanted() == [waiting]


def test_an_order_that_is_no_longer_paid_needs_none(waiting):
    Fulfillment.objects.update(created_at=LONG_AGO)
    Order.objects.update(status="deleted")

    assert wanted() == []


def test_a_mail_that_failed_needs_it_until_another_went_out(order, work):
    Delivery.objects.update(status="failed")
    assert wanted() == [order]

    resend(order.items.get(), actor="Sam")
    work()

    assert wanted() == []


def test_a_mail_that_is_late_needs_it(order):
    Delivery.objects.update(status="queued", created_at=LONG_AGO)

    assert wanted() == [order]


def test_it_is_the_merchants_own(order, merchant, outsider):
    Fulfillment.objects.update(status="failed")

    assert (wanted(merchant), wanted(outsider)) == ([order], [])


def test_a_code_whose_mail_failed_needs_it_though_another_code_went_out(pay, make_product, make_pool, work):
    pool = make_pool(1)
    pay(make_product(pool=pool), quantity=2)
    Delivery.objects.get().end(status="failed", reason="No such address.")

    stock(pool, 1)
    work()

    assert [delivery.status for delivery in Delivery.objects.order_by("pk")] == ["failed", "sent"]
    assert wanted() == [Order.objects.get()]


def test_a_mail_held_back_needs_it_once_delivery_is_allowed(pay, product, work):
    pay(product)
    CheckoutPage.objects.update(delivery_allowed=False)
    work()
    assert wanted() == []

    CheckoutPage.objects.update(delivery_allowed=True)

    assert wanted() == [Order.objects.get()]
