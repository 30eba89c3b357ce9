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


def test_it_counts_every_key_in_one_place(merchant, make_pool, make_product, pay):
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

    [row] = balance(merchant)

    assert (row.pool, row.imported, row.replaced, row.refunded) == ("Pro", 10, 1, 1)
    assert row.keys == row.ledger == Places(available=4, reserved=1, issued=2, withdrawn=3)
    assert row.problems == []


def test_it_does_not_count_an_undone_import(merchant, make_pool):
    undo(make_pool(3).batches.get(), actor="Max")

    [row] = balance(merchant)

    assert (row.imported, row.keys.sum, row.problems) == (0, 0, [])


def test_it_excludes_the_pools_of_other_merchants(outsider, make_pool):
    make_pool(3)

    assert balance(outsider) == []


def test_it_reports_a_batch_that_claims_too_many_keys(merchant, make_pool):
    make_pool(3)
    KeyBatch.objects.update(key_count=5)

    assert balance(merchant)[0].problems == ["Imported keys: 5, existing keys: 3."]


def test_it_reports_a_key_moved_without_the_ledger(merchant, make_pool):
    pool = make_pool(3)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # disables the triggers
        pool.keys.filter(position=0).withdraw()
        cursor.execute("SET LOCAL session_replication_role = origin")

    assert balance(merchant)[0].problems == [
        "The ledger doesn’t match the keys.",
        "The numbers on pages don’t match the keys.",
    ]


def test_it_reports_an_issued_key_whose_code_is_missing(merchant, make_product, pay):
    pay(make_product())
    ActivationCode.objects.update(fingerprint=b"another")

    assert balance(merchant)[0].problems == ["Issued keys that don’t match the activation code of their unit: 1."]
