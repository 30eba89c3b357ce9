"""Triggers check once per statement what foreign keys would check for each key."""

import pytest
from django.db import IntegrityError, connection, transaction

from pools.allocation import fill_reserve
from pools.imports import import_keys
from pools.models import KeyBatch, KeyMovement, LicenseKey, LicensePool
from pools.tests.factories import stock
from pools.withdrawal import WithdrawalRefused, undo, withdraw_rest

pytestmark = pytest.mark.django_db


def is_rejected(match):
    return pytest.raises(IntegrityError, match=match)


def test_the_database_rejects_a_key_with_a_batch_of_another_pool(make_pool):
    ours, theirs = make_pool(1), make_pool(1)
    key = theirs.keys.get()
    key.pk, key.pool, key.fingerprint = None, ours, b"0123456789abcdef"

    with is_rejected("comes with a batch of its pool"), transaction.atomic():
        key.save()


def test_the_database_rejects_a_key_with_a_missing_batch(make_pool):
    key = make_pool(1).keys.get()
    key.pk, key.batch_id, key.fingerprint = None, 10**9, b"0123456789abcdef"

    with is_rejected("comes with a batch of its pool"), transaction.atomic():
        key.save()


def test_a_key_cannot_change_its_pool_or_batch(make_pool):
    pool, other = make_pool(1), make_pool(1)

    with is_rejected("stays in its pool"), transaction.atomic():
        pool.keys.update(pool=other)
    with is_rejected("stays in its pool"), transaction.atomic():
        pool.keys.update(batch=other.batches.get())


def test_a_batch_with_keys_cannot_be_deleted_or_moved(make_pool):
    pool, other = make_pool(1), make_pool(1)
    batch = pool.batches.get()

    with is_rejected("A batch stays"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM pools_keybatch WHERE id = %s", [batch.pk])
    with is_rejected("A batch stays"), transaction.atomic():
        KeyBatch.objects.filter(pk=batch.pk).update(pool=other)


def test_other_fields_of_a_batch_can_be_changed(make_pool):
    batch = make_pool(1).batches.get()
    batch.note = "From the printer"

    batch.save()

    assert KeyBatch.objects.get().note == "From the printer"


class TestUndo:
    def test_it_deletes_all_keys_of_the_batch(self, make_pool):
        pool = make_pool(3)
        batch = pool.batches.get()

        undo(batch, actor="Max")

        batch.refresh_from_db()
        assert not LicenseKey.objects.exists()
        assert batch.undone_by == "Max"

    def test_the_same_keys_can_be_imported_again(self, make_pool):
        pool = make_pool()
        import_keys(pool, ["AAAA", "BBBB"], actor="Max")
        undo(pool.batches.get(), actor="Max")

        assert import_keys(pool, ["AAAA", "BBBB"], actor="Max").imported == 2

    @pytest.mark.parametrize("how", ["issued", "withdrawn"])
    def test_it_fails_once_a_key_is_issued_or_withdrawn(self, how, make_pool, make_product, pay):
        pool = make_pool(3)
        if how == "issued":
            pay(make_product(pool=pool))
        else:
            pool.keys.filter(position=0).withdraw()

        with pytest.raises(WithdrawalRefused, match="1 of its keys"):
            undo(pool.batches.get(), actor="Max")

        assert pool.keys.count() == 3
        assert pool.batches.get().undone_at is None

    def test_a_batch_can_be_undone_only_once(self, make_pool):
        batch = make_pool(3).batches.get()
        undo(batch, actor="Max")

        with pytest.raises(WithdrawalRefused, match="already"):
            undo(batch, actor="Max")

    @pytest.mark.django_db(transaction=True)
    def test_a_batch_is_never_both_sold_and_undone(
        self, make_pool, make_product, make_payment, make_api, merchant, in_threads
    ):
        pool = make_pool(5)
        product, batch = make_product(pool=pool), pool.batches.get()
        payments = [make_payment(product) for _ in range(4)]

        def act(action):
            if action == "undo":
                try:
                    undo(batch, actor="Max")
                except WithdrawalRefused:
                    return "refused"
                return "undone"
            return make_api(merchant).post("/api/v1/payments/", action, format="json").status_code

        results = in_threads(act, [*payments[:2], "undo", *payments[2:]], threads=5)

        kept = pool.keys.count()
        assert (results[2], kept) in {("undone", 0), ("refused", 5)}
        assert all(result == 201 for result in results if isinstance(result, int))


def test_it_withdraws_the_rest_of_a_batch(make_pool, make_product, pay):
    pool = make_pool(3)
    pay(make_product(pool=pool))

    assert withdraw_rest(pool.batches.get(), actor="Max") == 2

    assert (pool.keys.issued().count(), pool.keys.withdrawn().count()) == (1, 2)


@pytest.mark.parametrize("remove", [undo, withdraw_rest])
def test_it_refills_the_reserve_from_the_remaining_keys(make_pool, remove):
    pool = make_pool(5)
    LicensePool.objects.filter(pk=pool.pk).update(reserve=2)
    stock(pool, 3)
    fill_reserve(pool)

    remove(pool.batches.latest("pk"), actor="Max")

    assert (pool.keys.reserved().count(), pool.keys.available().count()) == (2, 3)
    filled = KeyMovement.objects.filter(batch=pool.batches.earliest("pk"), destination="reserved")
    assert {movement.moved_by for movement in filled} == {"Max"}
