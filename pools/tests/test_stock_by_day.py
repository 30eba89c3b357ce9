"""Past stock levels, computed from the ledger."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from orders.models import OrderItem
from pools.ledger import StockDay, stock_by_day
from pools.models import KeyBatch, LicenseKey, LicensePool
from pools.tests.factories import stock
from pools.withdrawal import undo

pytestmark = pytest.mark.django_db(transaction=True)

TODAY = timezone.now().astimezone(UTC).date()


def stock_days(pool, days=5):
    return [
        (day.stock, day.added, day.issued, day.taken_out)
        for day in stock_by_day(pool, pool.keys.available().count(), days)
    ]


def add_past_batch(pool, item, days_ago, *issued_days_ago, count):
    """Add a batch imported `days_ago`, with one key issued at each of `issued_days_ago`."""
    moment = datetime.combine(TODAY, datetime.min.time(), UTC) + timedelta(seconds=1)
    batch = KeyBatch.objects.create(
        pool=pool, key_count=count, imported_by="test", imported_at=moment - timedelta(days=days_ago)
    )
    LicenseKey.objects.bulk_create(
        LicenseKey(
            pool=pool, batch=batch, position=number, code="AAAA", fingerprint=f"{batch.pk}-{number}".encode(),
            **({"item": item, "unit": number + 1, "issued_at": moment - timedelta(days=issued_days_ago[number])}
               if number < len(issued_days_ago) else {}),
        )
        for number in range(count)
    )  # fmt: skip


@pytest.fixture
def item(pay, make_product):
    pay(make_product(source="manual"))
    return OrderItem.objects.get()


def test_each_day_shows_the_stock_at_its_end(make_pool, item):
    pool = make_pool()
    add_past_batch(pool, item, 3, 2, 2, 0, count=10)

    assert stock_days(pool) == [(0, 0, 0, 0), (10, 10, 0, 0), (8, 0, 2, 0), (8, 0, 0, 0), (7, 0, 1, 0)]
    assert stock_by_day(pool, 7, 1) == [StockDay(TODAY, stock=7, added=0, issued=1, taken_out=0)]


def test_the_stock_includes_keys_from_before_the_first_day(make_pool, item):
    pool = make_pool()
    add_past_batch(pool, item, 30, 20, 1, count=10)

    assert stock_days(pool, days=3) == [(9, 0, 0, 0), (8, 0, 1, 0), (8, 0, 0, 0)]


def test_withdrawn_undone_and_reserved_keys_count_as_taken_out(make_pool):
    pool = make_pool(10)
    keys = pool.keys.order_by("position")
    LicenseKey.objects.filter(pk__in=keys[:2].values("pk")).withdraw()
    LicensePool.objects.filter(pk=pool.pk).update(reserve=1)
    LicensePool.objects.filter(pk=pool.pk).update(reserve=1)
    LicenseKey.objects.filter(pk=keys[5].pk).update(reserved=True)
    batch = stock(pool, 4).batch
    assert batch is not None
    undo(batch, actor="test")

    assert stock_days(pool, days=2) == [(0, 0, 0, 0), (7, 14, 0, 7)]


def test_keys_released_from_the_reserve_count_as_added(make_pool):
    pool = make_pool(3)
    LicenseKey.objects.filter(pool=pool).update(reserved=True)
    LicenseKey.objects.filter(pool=pool).update(reserved=False)

    assert stock_days(pool, days=1) == [(3, 6, 0, 3)]


def test_it_covers_only_one_pool(make_pool):
    pool, _ = make_pool(3), make_pool(5)

    assert stock_days(pool, days=1) == [(3, 3, 0, 0)]
