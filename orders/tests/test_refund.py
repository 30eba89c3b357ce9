from decimal import Decimal

import pytest

from orders.models import Order, Refund
from orders.services import RefundRefused, refund


@pytest.fixture
def order(pay, product):
    return Order.objects.get(number=pay(product)["order"])


def test_a_full_refund_deletes_the_order(order):
    order = refund(order, actor="shop")

    assert order.status == Order.Status.DELETED
    assert Refund.objects.get().amount == Decimal("59.98")


def test_a_partial_refund_is_recorded_and_the_order_stays_paid(order):
    order = refund(order, amount=Decimal("9.98"), actor="shop")

    assert order.status == Order.Status.PAID


def test_refunding_the_rest_deletes_the_order(order):
    refund(order, amount=Decimal("9.98"), actor="shop")

    assert refund(order, amount=Decimal("50.00"), actor="shop").status == Order.Status.DELETED


def test_it_refuses_to_refund_more_than_is_left(order):
    refund(order, amount=Decimal("50.00"), actor="shop")

    with pytest.raises(RefundRefused, match="Only EUR 9.98 are left"):
        refund(order, amount=Decimal("10.00"), actor="shop")


def test_a_refund_with_a_reference_is_recorded_once(order):
    for _ in range(2):
        refund(order, amount=Decimal("9.98"), reference="R-1", actor="shop")

    assert Refund.objects.count() == 1


def test_a_full_refund_reported_twice_is_recorded_once(order):
    for _ in range(2):
        refund(order, actor="shop")

    assert Refund.objects.count() == 1


def test_it_refuses_to_refund_a_terminated_order(order):
    Order.objects.update(status=Order.Status.TERMINATED)

    with pytest.raises(RefundRefused, match="terminated"):
        refund(order, actor="shop")


@pytest.mark.django_db(transaction=True)
def test_concurrent_refunds_never_exceed_the_price(order, in_threads):
    def try_refund(_):
        try:
            refund(order, amount=Decimal("20.00"), actor="shop")
        except RefundRefused:
            return 0
        return 1

    assert sum(in_threads(try_refund, range(8), threads=8)) == 2


def test_it_refuses_a_known_reference_with_another_amount(order):
    refund(order, amount=Decimal("10.00"), reference="R-1", actor="Sam")

    with pytest.raises(RefundRefused, match="R-1 is already recorded with EUR 10.00"):
        refund(order, amount=Decimal("20.00"), reference="R-1", actor="Sam")
