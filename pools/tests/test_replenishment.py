from collections import Counter
from datetime import timedelta
from itertools import cycle, islice
from random import Random

import pytest
from django.core import mail
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from notices.models import MerchantNotice
from orders.models import OrderItem
from pools.models import KeyBatch, LicenseKey, LicensePool
from pools.replenishment import (
    DEVIATIONS,
    STOCK,
    Rate,
    _forecast,
    forecast,
    forecasts,
    rearm,
    warn_low_pools,
)
from pools.tests.factories import stock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pool(make_pool):
    return make_pool(13, threshold=10)


@pytest.fixture
def product(make_product, pool):
    return make_product(pool=pool)


def notices():
    return list(MerchantNotice.objects.order_by("pk").values_list("kind", "details__available"))


def test_it_sends_no_notice_above_the_threshold(pay, product):
    pay(product, quantity=2)

    assert notices() == []


def test_it_notifies_once_at_the_threshold_and_once_at_zero(pay, product):
    for _ in range(14):
        pay(product)

    assert notices() == [("pool_low", 10), ("pool_empty", 0)]


def test_it_notifies_once_when_stock_falls_past_the_threshold_to_zero(pay, product):
    pay(product, quantity=20)

    assert notices() == [("pool_empty", 0)]


def test_an_import_rearms_the_notices(pay, product, pool):
    pay(product, quantity=13)
    stock(pool, 12)

    pay(product, quantity=2)

    assert notices() == [("pool_empty", 0), ("pool_low", 10)]


def test_an_import_that_stays_below_the_threshold_rearms_only_the_empty_notice(pay, product, pool):
    pay(product, quantity=13)
    stock(pool, 2)

    pay(product, quantity=2)

    assert notices() == [("pool_empty", 0), ("pool_empty", 0)]


def test_it_notifies_again_when_waiting_items_use_up_an_import(pay, product, pool, work):
    pay(product, quantity=20)

    stock(pool, 12)
    work()

    assert notices() == [("pool_empty", 0), ("pool_low", 5)]


def test_a_payment_does_not_wait_for_an_import_to_send_a_notice(pay, product, pool, in_threads):
    with transaction.atomic():
        LicensePool.objects.select_for_update(no_key=True).get(pk=pool.pk)
        in_threads(lambda _: pay(product, quantity=3), [0], threads=1)

    assert notices() == []
    warn_low_pools()
    assert notices() == [("pool_low", 10)]


def test_it_notifies_when_a_lowered_threshold_is_crossed(pay, product, pool):
    pay(product, quantity=3)
    LicensePool.objects.update(threshold=5)
    rearm(pool)

    pay(product, quantity=5)

    assert notices() == [("pool_low", 10), ("pool_low", 5)]


def test_concurrent_payments_cause_one_notice_of_each_kind(pay, make_product, make_pool, in_threads):
    product = make_product(pool=make_pool(100, threshold=10))

    in_threads(lambda _: pay(product), range(110), threads=8)

    assert [kind for kind, _ in notices()] == ["pool_low", "pool_empty"]


def test_the_sweep_catches_a_missed_crossing(pay, product, monkeypatch):
    monkeypatch.setattr("pools.allocation.check_stock_after_commit", lambda pool: None)
    pay(product, quantity=3)
    assert notices() == []

    warn_low_pools()
    warn_low_pools()

    assert notices() == [("pool_low", 10)]


def test_it_notifies_about_a_pool_that_never_had_keys_only_after_a_sale(pay, make_product, make_pool):
    pool = make_pool(0)
    warn_low_pools()
    assert notices() == []

    pay(make_product(pool=pool))

    assert notices() == [("pool_empty", 0)]


def test_the_check_reads_only_as_many_keys_as_the_threshold(make_pool):
    pool = make_pool(5000, threshold=10)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE pools_licensekey")
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {STOCK}", {"pools": f"[{pool.pk}]"})
        plan = cursor.fetchone()[0][0]["Plan"]

    assert "key_available" in str(plan)
    assert _rows_read(plan) <= 3 * 11


def _rows_read(plan):
    return plan["Actual Rows"] + sum(_rows_read(child) for child in plan.get("Plans", []))


def sell(pool, *daily):
    """Issue keys: the first number in the last 24 hours, the second in the 24 hours before, and so on."""
    ages = [day + 0.5 for day, count in enumerate(daily) for _ in range(count)]
    item = OrderItem.objects.get()
    batch = KeyBatch.objects.create(pool=pool, key_count=len(ages), imported_by="test")
    now = timezone.now()
    pool.keys.bulk_create(
        LicenseKey(
            pool=pool,
            batch=batch,
            position=1000 + number,
            code="AAAA",
            fingerprint=f"{number}".encode(),
            item=item,
            unit=number + 1,
            issued_at=now - timedelta(days=age),
        )
        for number, age in enumerate(ages)
    )


@pytest.fixture
def idle_pool(pay, make_product, pool):
    """A pool without sales."""
    pay(make_product(source="manual"))
    return pool


def to_days(time):
    return time / timedelta(days=1)


def width(expected):
    return to_days(expected.latest) - to_days(expected.earliest)


def test_the_rates_cover_the_last_week_and_month(idle_pool):
    sell(idle_pool, *[7] * 7, *[0] * 22, 1, 100)

    expected = forecast(idle_pool, available=70)

    assert expected.per_day == 7
    assert expected.per_day_of_month == pytest.approx(50 / 30)
    assert to_days(expected.time_left) == pytest.approx(10)


def test_a_pool_on_sale_for_three_days_is_judged_by_those_days(idle_pool):
    sell(idle_pool, 4, 5, 6)

    expected = forecast(idle_pool, available=10)

    assert expected.per_day == expected.per_day_of_month == pytest.approx(15 / 2.5, rel=0.01)


def test_the_first_day_counts_as_a_whole_day(idle_pool):
    sell(idle_pool, 6)

    assert forecast(idle_pool, available=10).per_day == 6


def test_the_range_is_narrower_for_even_sales_than_for_bursts(idle_pool, make_pool):
    even, bursts = idle_pool, make_pool()
    sell(even, *[3] * 30, 1)
    even.keys.issued().update(unit=F("unit") + 1000)
    sell(bursts, *([15] + [0] * 4) * 6, 1)

    expected = forecasts({even: 90, bursts: 90})

    assert expected[even].per_day_of_month == expected[bursts].per_day_of_month == 3
    assert to_days(expected[even].earliest) < 30 < to_days(expected[even].latest)
    assert width(expected[even]) < width(expected[bursts]) / 2


def test_weekends_widen_the_range(idle_pool):
    chance = Rate(5, days=28, spread=1)
    sell(idle_pool, *([7] * 5 + [0] * 2) * 4)

    weekends = forecast(idle_pool, 100)

    assert weekends.month.spread > 1.5
    assert to_days(weekends.latest) > chance.days_left(100, -DEVIATIONS)


def test_the_range_covers_a_change_of_pace(idle_pool):
    sell(idle_pool, *[20] * 7, *[2] * 23)

    expected = forecast(idle_pool, available=100)

    assert to_days(expected.earliest) < 100 / 20
    assert to_days(expected.latest) > 100 / expected.per_day_of_month


def test_a_pool_that_stopped_selling_has_no_latest_end(idle_pool):
    sell(idle_pool, *[0] * 10, *[5] * 20)

    expected = forecast(idle_pool, available=100)

    assert expected.time_left is None and expected.latest is None
    assert to_days(expected.earliest) < 100 / expected.per_day_of_month


def test_a_few_sales_are_not_enough_for_a_reliable_forecast(idle_pool):
    sell(idle_pool, 2, 2)
    assert not forecast(idle_pool, available=10).is_reliable

    idle_pool.keys.filter(pk=idle_pool.keys.available().earliest("pk").pk).update(
        item=OrderItem.objects.get(), unit=99, issued_at=timezone.now()
    )

    assert forecast(idle_pool, available=10).is_reliable


def test_an_empty_pool_has_no_time_left(idle_pool):
    sell(idle_pool, *[3] * 30)

    expected = forecast(idle_pool, available=0)

    assert expected.earliest == expected.time_left == expected.latest == timedelta(0)


@pytest.mark.parametrize("deviations", [DEVIATIONS, -DEVIATIONS])
@pytest.mark.parametrize("available", [1, 40, 5000])
def test_the_ends_of_the_range_are_where_the_cone_meets_zero(available, deviations):
    rate = Rate(per_day=12.5, days=7, spread=2.5)

    assert rate.demand(rate.days_left(available, deviations), deviations) == pytest.approx(available)


@pytest.mark.parametrize("weekly", [[1, 1, 1, 1, 1, 1, 1], [1.4, 1.3, 1.2, 1.2, 1.1, 0.5, 0.3]])
def test_the_range_usually_contains_the_outcome(weekly):
    """Simulate random sales, with and without weekends, and compare the forecasts with the outcomes."""
    rng = Random(5)  # noqa: S311 (not used for secrets)
    inside = 0
    for _ in range(400):
        days = (sum(rng.random() < 8 * weight / 50 for _ in range(50)) for weight in cycle(weekly))
        past, left, lasts = Counter(dict(enumerate(islice(days, 30)))), 120, 0
        while left > 0:
            left -= next(days)
            lasts += 1
        expected = _forecast(120, past, timezone.now() - timedelta(days=100))
        inside += to_days(expected.earliest) <= lasts and lasts - 1 <= to_days(expected.latest)

    assert 0.8 <= inside / 400 < 1


def test_many_pools_take_as_many_queries_as_one(idle_pool, make_pool, django_assert_num_queries):
    sell(idle_pool, 5)
    pools = dict.fromkeys([idle_pool, make_pool(), make_pool()], 10)

    with django_assert_num_queries(1):
        forecasts(pools)


def test_a_pool_without_sales_has_no_expected_end(pool):
    assert forecast(pool, available=10).time_left is None


def test_the_notice_shows_how_long_the_stock_will_last(pay, product, pool, work):
    pay(product, quantity=3)
    mail.outbox.clear()

    work()

    notice = next(message for message in mail.outbox if "keys left" in message.subject)
    assert notice.subject == f"10 keys left in the pool “{pool}”"
    assert notice.to == ["owner@northlight.example"]
    assert "Issued per day: about 3\n" in notice.body
    assert "Time left: about 3 days" in notice.body
    assert "Orders waiting: 0" in notice.body


def test_a_pools_recipients_replace_the_default_ones(pay, product, pool, work):
    LicensePool.objects.update(recipients=["stock@northlight.example"])

    pay(product, quantity=20)
    work()

    notice = next(message for message in mail.outbox if "is empty" in message.subject)
    assert notice.to == ["stock@northlight.example"]
    assert "Orders waiting: 1" in notice.body
