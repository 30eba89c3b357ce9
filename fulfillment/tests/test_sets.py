"""Many items and units at once: the statements that issue and save codes work on sets."""

from collections import Counter

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from delivery.models import DeliveredCode, Delivery
from fulfillment import engine
from fulfillment.models import Fulfillment
from fulfillment.sources.pool.models import PoolMethod
from orders.models import ActivationCode, Order, OrderItem
from orders.services import refund, reinstate
from pools.models import LicenseKey
from pools.tests.factories import stock

pytestmark = pytest.mark.django_db


@pytest.fixture
def count_statements():
    def count(act, *arguments):
        with CaptureQueriesContext(connection) as statements:
            act(*arguments)
        return len(statements)

    return count


def check_codes():
    """Every code is the text of the key of its unit, in exactly one automatic e-mail."""
    keys = {(key.item_id, key.unit): key.code for key in LicenseKey.objects.issued()}
    codes = {(code.item_id, code.unit): code.code for code in ActivationCode.objects.all()}
    assert codes == keys
    for code in ActivationCode.objects.all():
        again = ActivationCode.build(code.code)
        assert code.loose_fingerprint
        assert (bytes(code.fingerprint), bytes(code.loose_fingerprint), code.hint) == (
            again.fingerprint,
            again.loose_fingerprint,
            again.hint,
        )
    carried = Counter(DeliveredCode.objects.filter(automatic=True).values_list("code", flat=True))
    assert carried == dict.fromkeys(ActivationCode.objects.values_list("pk", flat=True), 1)


def test_items_with_different_chains_are_served_in_one_payment(pay, make_product, make_pool, make_payment):
    first, second, third = (make_pool(count, name=f"P{count}") for count in (2, 3, 100))
    chains = {"A": [first, second, third], "B": [second, first], "C": [third], "D": []}
    for sku, pools in chains.items():
        product = make_product(source=None, sku=sku)
        for position, pool in enumerate(pools, start=1):
            PoolMethod.objects.create(product=product, position=position, pool=pool)
    items = make_payment("A", "B", "C", "D", quantity=4)["items"]

    answer = pay(order="MIXED", items=items)

    # The first round takes P2 for A and P3 for B; then A finds P3 empty and goes on to P100, and B finds nothing.
    assert [(item["product"], item["fulfillment"], len(item["activation_codes"])) for item in answer["items"]] == [
        ("A", "done", 4),
        ("B", "waiting", 3),
        ("C", "done", 4),
        ("D", "waiting", 0),
    ]
    assert answer["items"][1]["reason"] == "The pool “P3” has no keys left. The pool “P2” has no keys left."
    check_codes()
    assert Delivery.objects.count() == 1


def test_a_thousand_units_take_as_many_statements_as_one(pay, make_product, make_pool, count_statements):
    product = make_product(pool=make_pool(1200))
    pay(product, order="WARM-UP")

    one = count_statements(lambda: pay(product, order="ONE"))
    thousand = count_statements(lambda: pay(product, order="THOUSAND", quantity=1000))

    assert thousand == one
    assert [code["unit"] for code in pay(product, order="TEN", quantity=10)["items"][0]["activation_codes"]] == [
        *range(1, 11)
    ]
    check_codes()


def test_keys_go_to_the_units_in_the_order_of_the_pool(pay, make_product, make_pool):
    pay(make_product(pool=make_pool(50)), quantity=20)

    positions = LicenseKey.objects.issued().order_by("unit").values_list("position", flat=True)
    assert list(positions) == sorted(positions) and len(positions) == 20


def test_waiting_items_are_served_in_batches_oldest_payment_first(pay, make_product, merchant, count_statements):
    product = make_product(keys=0)
    for number in range(12, 0, -1):
        pay(product, order=f"W{number}", paid_at=f"2026-11-22T{number:02}:00:00Z", quantity=1 + number % 3)
    (pool,) = merchant.pools.all()
    stock(pool, 9)

    few = count_statements(engine.serve_waiting, pool)

    done = Fulfillment.objects.filter(status="done").order_by("item__order__paid_at")
    assert list(done.values_list("item__order__number", flat=True)) == ["W1", "W2", "W3", "W4"]
    codes = Counter(ActivationCode.objects.values_list("item__order__number", flat=True))
    assert codes == {"W1": 2, "W2": 3, "W3": 1, "W4": 2, "W5": 1}
    assert few < 30  # also for 200 items
    check_codes()


def test_undoing_a_refund_issues_all_missing_codes_at_once(pay, make_product, make_pool, count_statements):
    pool = make_pool(0, name="Late")
    products = [make_product(pool=pool, sku=f"SKU-{number}") for number in range(6)]
    pay(*products, order="BACK")
    order = Order.objects.get()
    refund(order, actor="Sam")
    stock(pool, 10)

    count = count_statements(lambda: reinstate(order, actor="Sam"))

    assert set(Fulfillment.objects.values_list("status", flat=True)) == {"done"}
    assert count < 40
    check_codes()


def test_an_item_with_all_its_codes_is_done_without_asking(pay, product, monkeypatch):
    pay(product)
    Fulfillment.objects.update(status="waiting", done_at=None)
    monkeypatch.setattr("fulfillment.sources.pool.source.take_keys", lambda wanted: 1 / 0)

    engine.top_up_at_once(list(Fulfillment.objects.values_list("pk", flat=True)))

    assert Fulfillment.objects.get().status == "done"


def test_items_of_orders_that_are_no_longer_paid_get_nothing(pay, make_product, merchant):
    product = make_product(keys=0)
    pay(product, order="REFUNDED")
    pay(product, order="PAID")
    waiting = list(Fulfillment.objects.order_by("pk").values_list("pk", flat=True))
    refund(Order.objects.get(number="REFUNDED"), actor="Sam")
    Fulfillment.objects.update(status="waiting", reason="")
    stock(merchant.pools.get(), 5)

    engine.top_up_at_once(waiting)

    assert list(ActivationCode.objects.values_list("item__order__number", flat=True)) == ["PAID"]
    reasons = dict(Fulfillment.objects.values_list("item__order__number", "reason"))
    assert reasons == {"REFUNDED": "The order is deleted.", "PAID": ""}


def test_missing_units_of_many_items(pay, make_product):
    pay(make_product(keys=2, sku="SHORT"), quantity=4)
    pay(make_product(keys=5, sku="FULL"), quantity=3)
    pay(make_product(keys=0, sku="EMPTY"), quantity=2)

    missing = OrderItem.find_missing_units(list(OrderItem.objects.order_by("pk")))

    assert list(missing.values()) == [[3, 4], [], [1, 2]]
