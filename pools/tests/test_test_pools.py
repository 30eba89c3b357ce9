"""Each pool has a test pool, whose keys are issued to test orders only."""

import pytest

from fulfillment.models import Fulfillment
from orders.models import ActivationCode, OrderItem
from pools.allocation import allocate_keys, apply_settings
from pools.imports import import_keys
from pools.models import LicenseKey, LicensePool
from pools.sandbox import add_test_pools, delete_test_keys, reset_test_pools
from pools.tests.factories import stock
from portal.pools.stock import get_stock


@pytest.fixture
def pool(product):
    return LicensePool.objects.get()


@pytest.fixture
def test_pool(pool, sandbox):
    add_test_pools(sandbox)
    return pool.test_pool


def codes(order):
    return [code["code"] for item in order["items"] for code in item["activation_codes"]]


@pytest.mark.django_db(transaction=True)
def test_a_pool_has_one_test_pool_however_many_ask_at_once(pool, sandbox, in_threads):
    in_threads(add_test_pools, [sandbox] * 12, threads=6)

    assert list(sandbox.pools.values_list("live", "name", "threshold")) == [(pool.pk, pool.name, 0)]


@pytest.mark.django_db
def test_a_live_merchant_gets_no_test_pools(pool, merchant, outsider):
    add_test_pools(merchant)
    add_test_pools(outsider)

    assert LicensePool.objects.get() == pool


@pytest.mark.django_db
def test_a_test_pool_has_the_name_of_its_pool(pool, test_pool):
    pool.name = "Photo Pro"
    pool.save()
    apply_settings(pool, ["name"], actor="Ada")

    test_pool.refresh_from_db()
    assert test_pool.name == "Photo Pro"


@pytest.mark.django_db
def test_test_orders_get_imported_test_keys(pay_as_test, product, pool, test_pool):
    import_keys(test_pool, ["T-1", "T-2"], actor="Ada")

    assert codes(pay_as_test(product, quantity=2)) == ["T-1", "T-2"]
    assert set(LicenseKey.objects.issued().values_list("pool", flat=True)) == {test_pool.pk}
    assert pool.available_up_to(100) == 10


@pytest.mark.django_db(transaction=True)
def test_a_test_order_waits_for_an_empty_test_pool_like_a_real_one(pay_as_test, work, product, pool, test_pool):
    import_keys(test_pool, ["T-1"], actor="Ada")

    [item] = pay_as_test(product, quantity=2)["items"]
    assert item["fulfillment"] == "waiting"
    assert len(item["activation_codes"]) == 1
    work()  # the live pool has keys
    assert ActivationCode.objects.count() == 1
    assert [row.waiting for row in get_stock(pool.merchant)] == [0]
    assert not Fulfillment.objects.waiting_for(pool).exists()
    assert [row.waiting for row in get_stock(test_pool.merchant)] == [1]
    assert Fulfillment.objects.waiting_for(test_pool).exists()

    import_keys(test_pool, ["T-2"], actor="Ada")
    work()
    assert [code.code for code in ActivationCode.objects.order_by("unit")] == ["T-1", "T-2"]


@pytest.mark.django_db
def test_real_orders_never_get_test_keys(pay, make_product, sandbox):
    product = make_product(keys=0)
    add_test_pools(sandbox)
    import_keys(LicensePool.objects.get(merchant=sandbox), ["T-1"], actor="Ada")

    assert pay(product)["items"][0]["fulfillment"] == "waiting"
    assert not LicenseKey.objects.issued().exists()


@pytest.mark.django_db
def test_a_person_cant_issue_a_live_key_to_a_test_order(pay_as_test, product, pool):
    pay_as_test(product)

    assert allocate_keys(pool, OrderItem.objects.get(), [2]) == {}
    assert pool.available_up_to(100) == 10


@pytest.mark.django_db
def test_a_key_is_in_live_or_in_test_stock(product, pool, test_pool):
    import_keys(pool, ["LIVE-1"], actor="Ada")
    import_keys(test_pool, ["T-1"], actor="Ada")

    assert import_keys(test_pool, ["LIVE-1", "T-2"], actor="Ada").imported == 1
    assert import_keys(pool, ["T-1", "LIVE-2"], actor="Ada").imported == 1


@pytest.mark.django_db
def test_deleting_test_keys_never_touches_live_ones(pool, test_pool):
    stock(test_pool, 5)

    assert delete_test_keys(LicenseKey.objects.all(), at_most=3) == 3
    assert delete_test_keys(LicenseKey.objects.all()) == 2
    assert delete_test_keys(LicenseKey.objects.all()) == 0
    assert pool.keys.count() == 10


@pytest.mark.django_db
def test_an_empty_test_pool_waits_until_it_is_reset(pay_as_test, product, sandbox, test_pool):
    stock(test_pool, 1)
    delete_test_keys(LicenseKey.objects.all())

    assert pay_as_test(product)["items"][0]["fulfillment"] == "waiting"
    reset_test_pools(sandbox)
    assert pay_as_test(product)["items"][0]["fulfillment"] == "done"


@pytest.mark.django_db
def test_a_test_pool_with_keys_isnt_reset(sandbox, test_pool):
    stock(test_pool, 1)
    reset_test_pools(sandbox)

    assert LicensePool.objects.in_use().filter(pk=test_pool.pk).exists()
