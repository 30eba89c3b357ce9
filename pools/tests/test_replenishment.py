from datetime import timedelta

import pytest
from django.core import mail
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from conftest import stock
from fulfillment.models import MerchantNotice
from pools.models import LicensePool
from pools.replenishment import check_stock, forecast, rearm, warn_low_pools

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pool(make_pool):
    return make_pool(13, threshold=10)


@pytest.fixture
def product(make_product, pool):
    return make_product(pool=pool)


def notices():
    return list(MerchantNotice.objects.order_by("pk").values_list("kind", "available"))


def test_nothing_is_said_above_the_threshold(pay, product):
    pay(product, quantity=2)

    assert notices() == []


def test_it_tells_at_the_threshold_and_again_at_zero_once(pay, product):
    for _ in range(14):
        pay(product)

    assert notices() == [("pool_low", 10), ("pool_empty", 0)]


def test_a_fall_through_the_threshold_to_zero_is_told_once(pay, product):
    pay(product, quantity=20)

    assert notices() == [("pool_empty", 0)]


def test_an_import_rearms_it(pay, product, pool):
    pay(product, quantity=13)
    stock(pool, 12)

    pay(product, quantity=2)

    assert notices() == [("pool_empty", 0), ("pool_low", 10)]


def test_an_import_that_stays_below_the_threshold_rearms_only_zero(pay, product, pool):
    pay(product, quantity=13)
    stock(pool, 2)

    pay(product, quantity=2)

    assert notices() == [("pool_empty", 0), ("pool_empty", 0)]


def test_an_import_that_waiting_items_use_up_crosses_again(pay, product, pool, work):
    pay(product, quantity=20)

    stock(pool, 12)
    work()

    assert notices() == [("pool_empty", 0), ("pool_low", 5)]


def test_a_payment_does_not_wait_for_an_import_to_tell(pay, product, pool, in_threads):
    with transaction.atomic():
        LicensePool.objects.select_for_update(no_key=True).get(pk=pool.pk)
        in_threads(lambda _: pay(product, quantity=3), [0], threads=1)

    assert notices() == []
    warn_low_pools()
    assert notices() == [("pool_low", 10)]


def test_a_lowered_threshold_is_told_when_it_is_crossed(pay, product, pool):
    pay(product, quantity=3)
    LicensePool.objects.update(threshold=5)
    rearm(pool)

    pay(product, quantity=5)

    assert notices() == [("pool_low", 10), ("pool_low", 5)]


def test_payments_at_once_are_told_once(pay, make_product, make_pool, in_threads):
    product = make_product(pool=make_pool(100, threshold=10))

    in_threads(lambda _: pay(product), range(110), threads=8)

    assert [kind for kind, _ in notices()] == ["pool_low", "pool_empty"]


def test_the_sweep_catches_a_crossing_that_was_missed(pay, product, monkeypatch):
    monkeypatch.setattr("pools.allocation.check_stock", lambda pool: None)
    pay(product, quantity=3)
    assert notices() == []

    warn_low_pools()
    warn_low_pools()

    assert notices() == [("pool_low", 10)]


def test_the_check_reads_no_further_than_the_threshold(make_pool):
    pool = make_pool(5000, threshold=10)
    with CaptureQueriesContext(connection) as queries:
        check_stock(pool)

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE pools_licensekey")
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {queries[0]['sql']}")
        plan = cursor.fetchone()[0][0]["Plan"]

    assert "key_available" in str(plan)
    assert _rows_read(plan) <= 3 * 11


def _rows_read(plan):
    return plan["Actual Rows"] + sum(_rows_read(child) for child in plan.get("Plans", []))


def test_the_forecast_takes_the_rate_of_the_last_week(pay, product, pool):
    pay(product, quantity=6)
    pool.keys.issued().update(issued_at=timezone.now() - timedelta(days=3))
    pool.keys.issued().filter(position=0).update(issued_at=timezone.now() - timedelta(days=8))

    expected = forecast(pool, available=10)

    assert expected.per_day == pytest.approx(5 / 3, rel=0.01)
    assert expected.time_left is not None
    assert expected.time_left / timedelta(days=1) == pytest.approx(6, rel=0.01)


def test_a_pool_that_sold_nothing_has_no_end_in_sight(pool):
    assert forecast(pool, available=10).time_left is None


def test_the_notice_says_how_long_the_rest_lasts(pay, product, pool, work):
    pay(product, quantity=3)
    mail.outbox.clear()

    work()

    notice = next(message for message in mail.outbox if "keys left" in message.subject)
    assert notice.subject == f"10 keys left in the pool “{pool}”"
    assert notice.to == ["owner@northlight.example"]
    assert "They go at:     about 3 a day" in notice.body
    assert "They last for:  about 3 days" in notice.body
    assert "Orders waiting: 0" in notice.body


def test_the_pools_own_recipients_come_first(pay, product, pool, work):
    LicensePool.objects.update(recipients=["stock@northlight.example"])

    pay(product, quantity=20)
    work()

    notice = next(message for message in mail.outbox if "is empty" in message.subject)
    assert notice.to == ["stock@northlight.example"]
    assert "Orders waiting: 1" in notice.body
