"""The numbers of keys that pages and the API show: always the real numbers, without counting keys."""

import contextlib
from datetime import UTC, datetime, timedelta
from importlib import import_module
from random import Random

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import Count, Q, Sum
from django.utils import timezone

from fulfillment.actions import ReplaceRefused, issue_from_reserve, replace
from fulfillment.models import Fulfillment
from orders.models import ActivationCode
from pools.allocation import fill_reserve, return_key
from pools.ledger import DAYS_KEPT, HOURS_KEPT, fold_changes, stock_by_day
from pools.models import KeyMovement, LicensePool, StockChange
from pools.tests.factories import stock
from pools.withdrawal import WithdrawalRefused, undo, withdraw_key, withdraw_rest

PLACES = ("available", "reserved", "issued", "withdrawn")
COUNTED = {
    "available": Count("keys", filter=Q(keys__item=None, keys__withdrawn_at=None, keys__reserved=False)),
    "reserved": Count("keys", filter=Q(keys__item=None, keys__withdrawn_at=None, keys__reserved=True)),
    "issued": Count("keys", filter=Q(keys__item__isnull=False, keys__withdrawn_at=None)),
    "withdrawn": Count("keys", filter=Q(keys__withdrawn_at__isnull=False)),
}
# Both in one statement, so in one snapshot.
COMPARE = """
SELECT (SELECT array_agg(row(available, reserved, issued, withdrawn)::text) FROM (
        SELECT sum(available) AS available, sum(reserved) AS reserved, sum(issued) AS issued,
            sum(withdrawn) AS withdrawn
        FROM pools_stockchange GROUP BY pool_id ORDER BY pool_id) numbers),
    (SELECT array_agg(row(available, reserved, issued, withdrawn)::text) FROM (
        SELECT count(*) FILTER (WHERE item_id IS NULL AND withdrawn_at IS NULL AND NOT reserved) AS available,
            count(*) FILTER (WHERE item_id IS NULL AND withdrawn_at IS NULL AND reserved) AS reserved,
            count(*) FILTER (WHERE item_id IS NOT NULL AND withdrawn_at IS NULL) AS issued,
            count(*) FILTER (WHERE withdrawn_at IS NOT NULL) AS withdrawn
        FROM pools_licensekey GROUP BY pool_id ORDER BY pool_id) keys)
"""


def shown():
    return list(LicensePool.objects.with_counts().order_by("pk").values_list("imported", *PLACES))


def counted():
    rows = LicensePool.objects.annotate(**COUNTED).order_by("pk").values_list(*PLACES)
    return [(sum(row), *row) for row in rows]


def compare():
    with connection.cursor() as cursor:
        cursor.execute(COMPARE)
        return cursor.fetchone()


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(3))
def test_the_numbers_equal_the_counts_after_every_change(seed, make_pool, make_product, pay):
    rng = Random(seed)
    pools = [make_pool(5) for _ in range(3)]
    products = [make_product(pool=pool) for pool in pools]

    def sell(pool):
        pay(products[pools.index(pool)], quantity=rng.randint(1, 4))

    def undo_one(pool):
        if batch := pool.batches.filter(undone_at=None).order_by("?").first():
            with contextlib.suppress(WithdrawalRefused):
                undo(batch, actor="Max")

    def reserve(pool):
        pool.reserve = rng.randint(0, 4)
        pool.save(update_fields=["reserve"])
        fill_reserve(pool)

    def take_from_reserve(pool):
        waiting = Fulfillment.objects.waiting().select_related("item__order").first()
        if waiting:
            with contextlib.suppress(ReplaceRefused):
                issue_from_reserve(waiting.item, actor="Sam")

    def replace_one(pool):
        if code := ActivationCode.objects.filter(source="pool").order_by("?").first():
            with contextlib.suppress(ReplaceRefused):
                replace(code, actor="Sam")

    def return_one(pool):
        if key := pool.keys.issued().first():
            return_key(key)

    def withdraw_one(pool):
        if key := pool.keys.in_stock().first():
            withdraw_key(key, actor="Max")

    actions = [
        sell, sell, sell, undo_one, reserve, take_from_reserve, replace_one, return_one, withdraw_one,
        lambda pool: stock(pool, rng.randint(1, 5)),
        lambda pool: rng.random() < 0.3 and withdraw_rest(pool.batches.latest("pk"), actor="Max"),
        lambda pool: fold_changes(),
    ]  # fmt: skip
    for _ in range(60):
        pool = rng.choice(pools)
        pool.refresh_from_db()
        rng.choice(actions)(pool)
        assert shown() == counted()
    fold_changes()
    assert shown() == counted()


@pytest.mark.django_db
def test_a_rollback_takes_its_changes_back(make_pool):
    pool = make_pool(5)
    before = shown()

    with transaction.atomic():
        pool.keys.all().withdraw()
        assert shown() != before
        fold_changes()
        transaction.set_rollback(True)

    assert shown() == before == counted()


@pytest.mark.django_db(transaction=True)
def test_readers_always_see_the_real_numbers_during_sales_and_folds(make_pool, make_product, pay, in_threads):
    """Threads sell, withdraw, import and fold, while others compare the numbers with the keys."""
    pools = [make_pool(60) for _ in range(2)]
    products = [make_product(pool=pool) for pool in pools]
    differences = []

    def act(number):
        kind, pool = number % 4, number % 2
        if kind in {0, 1}:
            pay(products[pool], quantity=2)
            fold_changes()
        elif kind == 2:
            pools[pool].keys.filter(position=59 - number // 4).withdraw()
        else:
            stock(LicensePool.objects.get(pk=pools[pool].pk), 3)
        for _ in range(5):
            numbers, counts = compare()
            if numbers != counts:
                differences.append((numbers, counts))

    in_threads(act, range(48), 4)

    assert differences == []
    assert shown() == counted()


@pytest.mark.django_db(transaction=True)
def test_a_sale_waits_for_no_fold_and_no_other_sale(make_pool, make_product, pay, in_threads):
    pool = make_pool(10)
    product = make_product(pool=pool)
    pay(product)

    def sell_and_fold(_):
        pay(product)
        fold_changes()

    with transaction.atomic():
        fold_changes()
        pool.keys.available().filter(position=5).withdraw()
        # Would wait forever for a row that this transaction holds.
        in_threads(sell_and_fold, range(2), 2)

    assert shown() == counted()


@pytest.mark.django_db
def test_folding_keeps_hours_then_days_then_months(make_pool):
    pool = make_pool()
    now = timezone.now().astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    midnight = now.replace(hour=0)
    day, last_day = midnight - timedelta(days=40), midnight - DAYS_KEPT
    month = (last_day - timedelta(days=40)).replace(day=1)
    hours = [now, now, now - timedelta(hours=1), midnight - HOURS_KEPT, midnight - HOURS_KEPT + timedelta(hours=5)]
    hours += [day + timedelta(hours=3), day + timedelta(hours=4), last_day]
    hours += [month + timedelta(days=age, hours=age) for age in (1, 5, 20)]
    sums = {"available": 1, "reserved": 2, "issued": 3, "withdrawn": 4, "added": 5, "sold": 6}
    StockChange.objects.bulk_create(StockChange(pool=pool, period=hour, **sums) for hour in hours)

    fold_changes()
    fold_changes()

    kept = dict(pool.changes.values_list("period", "available"))
    assert kept == {now: 2, hours[2]: 1, hours[3]: 1, hours[4]: 1, day: 2, last_day: 1, month: 3}
    totals = pool.changes.aggregate(**{name: Sum(name) for name in sums})
    assert totals == {name: len(hours) * value for name, value in sums.items()}


@pytest.mark.django_db
def test_the_migration_counts_the_keys_that_are_there(make_pool, make_product, pay):
    pay(make_product(pool=make_pool(9)), quantity=3)
    fold_changes()
    before = list(
        StockChange.objects.order_by("pool", "period").values_list("pool", "period", *PLACES, "added", "sold")
    )
    migration = import_module("pools.migrations.0004_stock_changes")

    StockChange.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute(migration.CHANGES.format(movements="pools_keymovement"))

    after = list(
        StockChange.objects.order_by("pool", "period").values_list("pool", "period", *PLACES, "added", "sold")
    )
    assert after == before
    assert shown() == counted()


@pytest.mark.django_db(transaction=True)
def test_the_audit_reports_a_wrong_number(make_pool, capsys):
    pool = make_pool(5)
    pool.changes.update(available=4)

    with pytest.raises(SystemExit):
        call_command("audit")

    assert f"pool {pool.pk}: available, 5 keys, 4 on pages" in capsys.readouterr().out


@pytest.mark.django_db(transaction=True)
def test_the_audit_reports_a_wrong_day(make_pool, capsys):
    pool = make_pool(5)
    pool.changes.update(sold=1)

    with pytest.raises(SystemExit):
        call_command("audit")

    assert f"pool {pool.pk}: 5 added and 1 sold, by the ledger 5 and 0" in capsys.readouterr().out


def days_by_ledger(pool, available, days):
    """The stock by day, computed from every movement."""
    today = timezone.now().astimezone(UTC).date()
    history = []
    for age in range(days):
        start = datetime.combine(today - timedelta(days=age), datetime.min.time(), UTC)
        moved = KeyMovement.objects.filter(pool=pool, moved_at__gte=start, moved_at__lt=start + timedelta(days=1))
        added, left, issued = (
            moved.filter(**places).aggregate(sum=Sum("count"))["sum"] or 0
            for places in (
                {"destination": "available"},
                {"origin": "available"},
                {"origin": "available", "destination": "issued"},
            )
        )
        history.append((start.date(), available, added, issued, left - issued))
        available += left - added
    return history[::-1]


@pytest.mark.django_db
def test_the_stock_by_day_equals_the_ledger(make_pool, make_product, pay):
    rng = Random(1)
    pool = make_pool(50)
    product = make_product(pool=pool)
    for _ in range(5):
        pay(product, quantity=3)
    pool.keys.filter(position__in=[40, 41]).withdraw()
    return_key(pool.keys.issued().first())
    KeyMovement.objects.bulk_create(
        KeyMovement(
            pool=pool,
            batch=pool.batches.get(),
            origin=origin,
            destination=destination,
            count=rng.randint(1, 9),
            moved_at=timezone.now() - timedelta(days=100 * rng.random()),
        )
        for origin in ["", *PLACES]
        for destination in ["", *PLACES] * 5
        if origin != destination
    )
    fold_changes()

    days = stock_by_day(pool, 35, 90)

    assert [(day.date, day.stock, day.added, day.issued, day.taken_out) for day in days] == days_by_ledger(
        pool, 35, 90
    )
