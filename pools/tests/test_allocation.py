import pytest
from django.db import transaction
from django.utils import timezone

from fulfillment.payments import validate_payment
from orders.models import ActivationCode, Order
from orders.placing import place_order
from pools import allocation
from pools.allocation import advance_head_hint, allocate_keys
from pools.models import LicenseKey
from pools.tests.factories import stock


@pytest.fixture
def make_item(pay, make_product):
    """Return a function that creates an order item that gets no codes automatically."""
    product = make_product(source="manual")

    def make(units=1):
        return Order.objects.get(number=pay(product, quantity=units)["order"]).items.get()

    return make


@transaction.atomic
def take(pool, item, units):
    pool.refresh_from_db()
    keys = allocate_keys(pool, item, units)
    return [keys[unit].code for unit in units if unit in keys]


def test_it_issues_the_oldest_key_first(make_pool, make_item):
    pool = make_pool(3)

    assert take(pool, make_item(2), [1, 2]) == [f"POOL{pool.pk}-KEY-000001", f"POOL{pool.pk}-KEY-000002"]
    assert take(pool, make_item(1), [1]) == [f"POOL{pool.pk}-KEY-000003"]


def test_it_issues_fewer_keys_when_the_pool_has_fewer(make_pool, make_item):
    assert len(take(make_pool(1), make_item(3), [1, 2, 3])) == 1


def test_a_withdrawn_key_is_never_issued(make_pool, make_item):
    pool = make_pool(2)
    pool.keys.filter(position=0).withdraw()

    assert take(pool, make_item(2), [1, 2]) == [f"POOL{pool.pk}-KEY-000002"]


def test_it_does_not_withdraw_an_issued_key(make_pool, make_item):
    pool = make_pool(1)
    take(pool, make_item(), [1])

    assert pool.keys.all().withdraw() == 0


def test_the_database_rejects_a_second_key_for_a_unit(make_pool, make_item):
    pool, item = make_pool(2), make_item()
    take(pool, item, [1])

    with pytest.raises(Exception, match="one_key_per_unit"), transaction.atomic():
        pool.keys.available().update(item=item, unit=1, issued_at=timezone.now())


def test_the_hint_moves_up_to_the_first_available_key(make_pool, make_item):
    pool = make_pool(5)
    take(pool, make_item(3), [1, 2, 3])

    advance_head_hint(pool)

    pool.refresh_from_db()
    assert pool.head_hint == 3
    assert len(take(pool, make_item(5), [1, 2, 3, 4, 5])) == 2


def test_the_hint_of_an_empty_pool_does_not_skip_keys_imported_later(make_pool, make_item):
    pool = make_pool(2)
    take(pool, make_item(2), [1, 2])
    advance_head_hint(pool)

    stock(pool, 1)

    assert take(pool, make_item(), [1]) == [f"POOL{pool.pk}-KEY-000003"]


@pytest.mark.django_db(transaction=True)
def test_the_hint_does_not_pass_a_key_whose_transaction_may_roll_back(make_pool, make_item):
    pool, item = make_pool(2), make_item()

    with pytest.raises(ZeroDivisionError), transaction.atomic():
        allocate_keys(pool, item, [1])
        _in_another_connection(advance_head_hint, pool)
        raise ZeroDivisionError

    pool.refresh_from_db()
    assert pool.head_hint == 0


def _in_another_connection(function, *args):
    import threading

    from django.db import connection

    def run():
        function(*args)
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


@pytest.mark.django_db(transaction=True)
def test_concurrent_payments_get_different_keys_from_one_pool(
    merchant, make_product, make_payment, in_threads, monkeypatch
):
    monkeypatch.setattr(allocation, "HINT_STEP", 20)
    product = make_product(keys=150)
    payments = [make_payment(product, quantity=1 + number % 3) for number in range(100)]

    def report(payment):
        validated = validate_payment(merchant, payment)
        return place_order(merchant, validated)

    in_threads(report, payments, threads=16)

    pool = merchant.pools.get()
    assert pool.keys.available().count() == 0
    assert ActivationCode.objects.values("fingerprint").distinct().count() == 150
    assert pool.head_hint > 0
    assert LicenseKey.objects.issued().count() == 150
