import pytest
from django.db import connection

from fulfillment.actions import replace
from orders.models import ActivationCode, Order
from orders.services import refund
from pools.allocation import fill_reserve
from pools.models import KeyBatch, LicensePool
from pools.reconciliation import Places, balance
from pools.withdrawal import undo

pytestmark = pytest.mark.django_db


def test_every_key_is_somewhere(merchant, make_pool, make_product, pay):
    pool = make_pool(10, name="Pro")
    LicensePool.objects.update(reserve=1)
    pool.refresh_from_db()
    fill_reserve(pool)
    product = make_product(pool=pool)
    pay(product)
    pay(product)
    pay(product)
    first, second, _ = Order.objects.order_by("pk")
    replace(first.codes().select_related("item__order").get(), actor="Sam")
    refund(second, actor="Sam")
    pool.keys.filter(position=8).withdraw()

    [one] = balance(merchant)

    assert (one.pool, one.imported, one.replaced, one.refunded) == ("Pro", 10, 1, 1)
    assert one.keys == one.ledger == Places(available=4, reserved=1, issued=2, withdrawn=3)
    assert one.problems == []


def test_what_was_undone_was_not_imported(merchant, make_pool):
    undo(make_pool(3).batches.get(), actor="Max")

    [one] = balance(merchant)

    assert (one.imported, one.keys.sum, one.problems) == (0, 0, [])


def test_another_merchants_pools_are_not_in_it(outsider, make_pool):
    make_pool(3)

    assert balance(outsider) == []


def test_a_batch_that_claims_more_is_named(merchant, make_pool):
    make_pool(3)
    KeyBatch.objects.update(key_count=5)

    assert balance(merchant)[0].problems == ["5 keys were imported, but 3 exist."]


def test_a_key_that_moved_past_the_ledger_is_named(merchant, make_pool):
    pool = make_pool(3)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # no trigger sees it
        pool.keys.filter(position=0).withdraw()
        cursor.execute("SET LOCAL session_replication_role = origin")

    assert balance(merchant)[0].problems == ["The ledger doesn’t match the keys."]


def test_an_issued_key_whose_code_is_gone_is_named(merchant, make_product, pay):
    pay(make_product())
    ActivationCode.objects.update(fingerprint=b"another")

    assert balance(merchant)[0].problems == ["1 issued keys don’t match the activation code of their unit."]
