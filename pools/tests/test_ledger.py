import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import Sum

from orders.models import OrderItem
from pools.ledger import moved_by
from pools.models import KeyMovement
from pools.tests.factories import stock
from pools.withdrawal import undo

pytestmark = pytest.mark.django_db


def lines(pool):
    return list(pool.movements.order_by("pk").values_list("origin", "destination", "count", "moved_by"))


def test_an_import_adds_one_line(make_pool):
    pool = make_pool(1000)

    assert lines(pool) == [("", "available", 1000, "test")]


def test_every_issued_key_adds_a_line(make_pool, pay, make_product):
    pool = make_pool(3)

    pay(make_product(pool=pool), quantity=2)

    item = OrderItem.objects.get()
    issued = pool.movements.filter(destination="issued").order_by("pk")
    assert [(line.item_id, line.unit, line.count) for line in issued] == [(item.pk, 1, 1), (item.pk, 2, 1)]
    assert set(issued.values_list("key_id", flat=True)) == set(pool.keys.issued().values_list("pk", flat=True))


def test_a_withdrawal_records_who_did_it(make_pool):
    pool = make_pool(2)

    with moved_by("Max"):
        pool.keys.withdraw()

    assert lines(pool)[1:] == [("available", "withdrawn", 1, "Max")] * 2


def test_the_name_applies_only_inside_its_block(make_pool):
    pool = make_pool(2)

    with transaction.atomic():
        with moved_by("Max"):
            pool.keys.filter(position=0).withdraw()
        pool.keys.filter(position=1).withdraw()

    assert [line[3] for line in lines(pool)[1:]] == ["Max", ""]


def test_undoing_an_import_adds_one_line(make_pool):
    pool = make_pool(5)

    undo(pool.batches.get(), actor="Max")

    assert lines(pool)[1:] == [("available", "", 5, "Max")]


def test_an_update_that_moves_no_key_adds_no_line(make_pool):
    pool = make_pool(5)

    pool.keys.update(hint="")

    assert len(lines(pool)) == 1


def test_it_balances_after_sales_imports_and_withdrawals(make_pool, pay, make_product):
    pool = make_pool(5)
    pay(make_product(pool=pool), quantity=2)
    stock(pool, 3)
    pool.keys.filter(position=7).withdraw()

    def balance(place):
        arrived = pool.movements.filter(destination=place).aggregate(sum=Sum("count"))["sum"] or 0
        left = pool.movements.filter(origin=place).aggregate(sum=Sum("count"))["sum"] or 0
        return arrived - left

    assert {place: balance(place) for place in ("available", "reserved", "issued", "withdrawn")} == {
        "available": pool.keys.available().count(),
        "reserved": 0,
        "issued": 2,
        "withdrawn": 1,
    }


def test_a_rollback_removes_its_lines(make_pool):
    pool = make_pool(2)

    with pytest.raises(RuntimeError), transaction.atomic():
        pool.keys.withdraw()
        raise RuntimeError

    assert len(lines(pool)) == 1


@pytest.mark.parametrize("statement", ["UPDATE pools_keymovement SET count = 1", "DELETE FROM pools_keymovement"])
def test_the_database_rejects_updates_and_deletes(make_pool, statement):
    make_pool(2)

    with pytest.raises(DatabaseError, match="only added to"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)

    assert KeyMovement.objects.count() == 1


def test_the_database_rejects_truncate(make_pool):
    make_pool(2)

    with pytest.raises(DatabaseError, match="only added to"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE pools_keymovement ENABLE TRIGGER ledger_is_not_emptied")
        cursor.execute("TRUNCATE pools_keymovement")


def test_the_model_cannot_change_or_delete_a_line(make_pool):
    make_pool(2)
    line = KeyMovement.objects.get()

    with pytest.raises(DatabaseError, match="only added to"), transaction.atomic():
        line.save()
    with pytest.raises(DatabaseError, match="only added to"), transaction.atomic():
        line.delete()


def test_the_triggers_disable_nested_loops():
    with connection.cursor() as cursor:
        cursor.execute("SELECT proconfig FROM pg_proc WHERE proname IN ('pools_keys_came', 'pools_keys_moved')")
        settings = cursor.fetchall()

    assert settings == [(["enable_nestloop=off"],)] * 2
