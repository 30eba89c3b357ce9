"""Triggers check for issued keys what a foreign key to their items would check for every key of an import."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from orders.models import OrderItem

pytestmark = pytest.mark.django_db
MISSING = 10**9


@pytest.fixture
def item(pay, make_product):
    pay(make_product())
    return OrderItem.objects.get()


@pytest.fixture
def key(make_pool):
    return make_pool(1).keys.get()


def issue(key, item_id):
    type(key).objects.filter(pk=key.pk).update(item_id=item_id, unit=1, issued_at=Now())


def check_now():
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def delete(item):
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM orders_orderitem WHERE id = %s", [item.pk])


def is_rejected(match):
    return pytest.raises(IntegrityError, match=match)


@pytest.fixture
def lonely(item):
    """An item that nothing else refers to."""
    item.pk = None
    item.reference = "2"
    item.save()
    return item


def test_the_database_rejects_a_key_issued_to_a_missing_item(key):
    with is_rejected("issued to an item"), transaction.atomic():
        issue(key, MISSING)
        check_now()


def test_the_database_rejects_a_new_key_of_a_missing_item(key):
    key.pk, key.fingerprint = None, b"0123456789abcdef"
    key.item_id, key.unit, key.issued_at = MISSING, 1, Now()

    with is_rejected("issued to an item"), transaction.atomic():
        key.save()
        check_now()


def test_it_checks_at_the_end_of_the_transaction(key, lonely):
    with transaction.atomic():
        issue(key, MISSING)
        issue(key, lonely.pk)
        check_now()


def test_an_item_with_keys_cannot_be_deleted_or_renumbered(key, lonely):
    issue(key, lonely.pk)
    check_now()

    with is_rejected("An item stays"), transaction.atomic():
        delete(lonely)
        check_now()
    with is_rejected("An item stays"), transaction.atomic():
        OrderItem.objects.filter(pk=lonely.pk).update(id=MISSING)
        check_now()


def test_an_item_without_keys_can_be_deleted(lonely):
    delete(lonely)
    check_now()

    assert not OrderItem.objects.filter(pk=lonely.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_an_item_is_not_deleted_while_a_key_is_being_issued_to_it(key, item, in_threads):
    def attempt(action):
        try:
            with transaction.atomic():
                action()
        except IntegrityError:
            return "rejected"
        return "done"

    for number in range(2, 12):
        item.pk, item.reference = None, str(number)
        item.save()
        results = in_threads(attempt, [lambda: issue(key, item.pk), lambda: delete(item)], threads=2)

        assert sorted(results) == ["done", "rejected"]
        type(key).objects.filter(pk=key.pk).update(item=None, unit=None, issued_at=None)
