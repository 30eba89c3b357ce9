"""Payments make few round trips to PostgreSQL."""

import re

import pytest
from django.db import connection

from fulfillment.models import Fulfillment
from fulfillment.sources.pool.models import PoolMethod
from orders.models import ActivationCode, Order
from orders.placing import _create_order
from pools.models import LicensePool

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def count_round_trips(pay, make_product, tmp_path):
    # The first request of a process reads settings, and the first in a minute notes the use of its key.
    pay(make_product(sku="WARM-UP"), order="WARM-UP")

    def count(*products, **fields):
        with (tmp_path / "trace").open("w+") as trace:
            connection.connection.pgconn.trace(trace.fileno())
            pay(*products, **fields)
            connection.connection.pgconn.untrace()
            trace.seek(0)
            # The sender of each message: F is Keywell, B is PostgreSQL.
            senders = re.findall(r"\t([FB])\t", trace.read())
        return "".join(senders).count("FB")

    return count


@pytest.mark.parametrize("quantity", [1, 10])
def test_a_payment_makes_six(count_round_trips, make_product, quantity):
    assert count_round_trips(make_product(keys=100), quantity=quantity) == 6


def test_several_items_of_one_pool_make_six(count_round_trips, make_product, make_pool):
    pool = make_pool(100)
    products = [make_product(pool=pool, sku=f"SKU-{number}") for number in range(5)]

    assert count_round_trips(*products) == 6


@pytest.mark.parametrize("unserved", ["out of stock", "without a source", "unknown"])
def test_a_subscription_two_pools_and_an_unserved_item_make_at_most_twelve(
    count_round_trips, make_product, make_payment, pay, unserved
):
    first, second = make_product(keys=100, sku="FIRST"), make_product(keys=100, sku="SECOND")
    third = "UNKNOWN"
    if unserved != "unknown":
        third = make_product(keys=0, source="pool" if unserved == "out of stock" else None, sku="THIRD")
        pay(third, order="EARLIER")  # it notifies the merchant
    items = make_payment(first, second, third, quantity=2)["items"]
    items[0]["subscription"] = {"id": "S-1", "type": "AR", "period": "P1Y"}

    assert count_round_trips(order="MIXED", items=items) <= 12
    states = Fulfillment.objects.filter(item__order__number="MIXED").values_list("item__product__sku", "status")
    served = {"FIRST": "done", "SECOND": "done"}
    assert dict(states) == (served if unserved == "unknown" else served | {"THIRD": "waiting"})


def test_a_second_pool_costs_one_more_statement(count_round_trips, make_product, make_pool):
    product = make_product(keys=0, sku="TWO-POOLS")
    PoolMethod.objects.create(product=product, position=2, pool=make_pool(100, name="Second"))
    LicensePool.objects.update(notified="empty")

    assert count_round_trips(product) <= 9


def test_a_failing_source_costs_the_payment_a_second_try(pay, make_product, monkeypatch):
    tries = []

    def create_order(*args, at_once):
        tries.append(at_once)
        return _create_order(*args, at_once=at_once)

    monkeypatch.setattr("orders.placing._create_order", create_order)
    monkeypatch.setattr("fulfillment.sources.pool.source.take_keys", lambda wanted: 1 / 0)

    answer = pay(make_product())

    assert tries == [True, False]
    assert answer["items"][0]["fulfillment"] == "pending"
    assert not ActivationCode.objects.exists()


def test_a_payment_longer_than_a_sockets_buffer_is_stored(pay, make_product):
    parameters = {f"p{number}": "é" * 1000 for number in range(100)}

    pay(make_product(), order="LONG", additional_parameters=parameters)

    assert Order.objects.get(number="LONG").additional_parameters == parameters
