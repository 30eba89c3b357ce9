import pytest

from fulfillment.actions import replace
from orders.models import Order
from pools.models import KeyBatch

pytestmark = pytest.mark.django_db


@pytest.fixture
def manager(make_member, client):
    client.force_login(make_member("manager").user)
    return client


def test_each_number_links_to_the_keys_it_counts(manager, make_pool, make_product, pay):
    pool = make_pool(10, name="Pro")
    pay(make_product(pool=pool))
    replace(Order.objects.get().codes().select_related("item__order").get(), actor="Sam")

    page = manager.get("/pools/reconciliation/").content.decode()

    keys = f"/pools/{pool.pk}/keys/"
    for state, count in [("available", 8), ("reserved", 0), ("issued", 1), ("withdrawn", 1), ("replaced", 1)]:
        assert f'<a href="{keys}?state={state}">{count}</a>' in page
        listed = manager.get(f"{keys}?state={state}").content.decode()
        assert listed.count('<th scope="row">') == count, state
    assert "balanced" in page
    assert "mismatch" not in page


def test_it_reports_a_mismatch(manager, make_pool):
    make_pool(3)
    KeyBatch.objects.update(key_count=5)

    page = manager.get("/pools/reconciliation/").content.decode()

    assert "mismatch" in page
    assert "Imported keys: 5, existing keys: 3." in page


def test_the_ledger_shows_every_movement(manager, make_pool, make_product, pay):
    pool = make_pool(10)
    pay(make_product(pool=pool))
    [key] = pool.keys.issued()

    page = manager.get(f"/pools/{pool.pk}/ledger/").content.decode()

    assert "outside → available" in page
    assert "available → issued" in page
    assert f'href="/orders/{Order.objects.get().number}/"' in page
    assert key.code not in page


def test_the_ledger_can_show_a_single_key(manager, make_pool, make_product, pay):
    pool = make_pool(10)
    pay(make_product(pool=pool))
    pool.keys.filter(position=5).withdraw()
    [key] = pool.keys.withdrawn()

    page = manager.get(f"/pools/{pool.pk}/ledger/", {"key": key.pk}).content.decode()

    assert "available → withdrawn" in page
    assert "available → issued" not in page


def test_a_key_of_another_pool_is_a_404(manager, make_pool):
    pool, other = make_pool(1), make_pool(1)

    assert manager.get(f"/pools/{pool.pk}/ledger/", {"key": other.keys.get().pk}).status_code == 404
