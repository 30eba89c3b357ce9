import pytest
from django.core import mail

from delivery.models import Delivery
from fulfillment import actions
from fulfillment.actions import ReplaceRefused, issue_from_reserve, replace
from fulfillment.attention import lost_deliveries
from fulfillment.history import order_history
from fulfillment.models import Fulfillment
from orders.models import ActivationCode, Order
from orders.services import refund
from pools.allocation import allocate_keys, fill_reserve
from pools.models import KeyMovement, LicenseKey, LicensePool
from pools.tests.factories import stock

pytestmark = pytest.mark.django_db


@pytest.fixture
def order(pay, product, work):
    pay(product)
    work()
    mail.outbox.clear()
    return Order.objects.get()


@pytest.fixture
def code(order):
    return order.codes().select_related("item__order").get()


@pytest.fixture
def pool(product):
    return product.fulfillment_methods.get().kind.place


def set_reserve(pool, count):
    LicensePool.objects.filter(pk=pool.pk).update(reserve=count)
    fill_reserve(pool)


def withdraw_available_keys(pool):
    pool.keys.available().withdraw()


def test_the_customer_gets_another_key_from_the_same_pool(order, code, pool, work):
    new, is_new = replace(code, actor="Sam", reason="blocked by the vendor")
    work()

    assert is_new
    assert [saved.pk for saved in order.codes()] == [new.pk]
    assert new.code == f"POOL{pool.pk}-KEY-000002"
    [message] = mail.outbox
    assert new.code in message.body
    assert code.code not in message.body
    assert "replaces your license ending in 0001" in message.body


def test_the_replaced_key_is_withdrawn_and_linked_to_the_new_one(order, code, pool):
    new, _ = replace(code, actor="Sam")

    key = LicenseKey.objects.get(fingerprint=code.fingerprint)
    assert (key.status, key.withdrawn_because, key.item_id) == ("withdrawn", "replaced", code.item_id)
    old = ActivationCode.all_codes.get(pk=code.pk)
    assert (old.replaced_by, old.withdrawn_by) == (new, "Sam")
    assert new.replaces == old


def test_replacing_again_returns_the_same_code(code):
    first, _ = replace(code, actor="Sam")

    again, is_new = replace(code, actor="Sam")

    assert (again, is_new) == (first, False)
    assert LicenseKey.objects.issued().count() == 1


@pytest.mark.django_db(transaction=True)
def test_concurrent_clicks_replace_once(code, in_threads):
    def click(number):
        return replace(ActivationCode.all_codes.select_related("item__order").get(pk=code.pk), actor="Sam")

    results = in_threads(click, range(8), threads=8)

    assert len({new.pk for new, _ in results}) == 1
    assert [is_new for _, is_new in results].count(True) == 1
    assert LicenseKey.objects.issued().count() == 1


def test_a_replacement_can_be_replaced(order, code):
    first, _ = replace(code, actor="Sam")

    second, _ = replace(first, actor="Sam")

    assert [saved.pk for saved in order.codes()] == [second.pk]
    assert ActivationCode.all_codes.count() == 3


def test_the_history_shows_the_replacement(order, code):
    new, _ = replace(code, actor="Sam", reason="blocked")

    [line] = [line for line in order_history(order) if line.kind == "replaced"]

    assert (line.text, line.actor, line.note) == (f"Code ••••{code.hint} replaced by ••••{new.hint}", "Sam", "blocked")


def test_the_ledger_records_the_actor(code, pool):
    replace(code, actor="Sam")

    moves = KeyMovement.objects.filter(moved_by="Sam").order_by("pk")
    assert [(move.origin, move.destination) for move in moves] == [("issued", "withdrawn"), ("available", "issued")]


def test_an_empty_pool_uses_its_reserve(code, pool):
    set_reserve(pool, 1)
    withdraw_available_keys(pool)

    new, _ = replace(code, actor="Sam")

    assert new.code.endswith("000010")


def test_nothing_changes_if_there_is_no_key(order, code, pool):
    withdraw_available_keys(pool)

    with pytest.raises(ReplaceRefused, match="no keys left, not even in reserve"):
        replace(code, actor="Sam")

    assert LicenseKey.objects.issued().get().fingerprint == code.fingerprint
    assert order.codes().get() == code


def test_it_doesnt_replace_codes_of_an_unpaid_order(order, code):
    refund(order, actor="Sam")

    with pytest.raises(ReplaceRefused, match="deleted"):
        replace(code, actor="Sam")


def test_it_only_replaces_keys_from_a_pool(pay, make_product):
    pay(make_product(source="manual"))
    item = Order.objects.get().items.get()
    actions.enter_codes(item, {1: "AAAA-BBBB"}, actor="Max")

    with pytest.raises(ReplaceRefused, match="from a pool"):
        replace(item.activation_codes.get(), actor="Sam")


def test_the_replaced_code_is_no_longer_emailed(pay, product, work):
    pay(product)
    order = Order.objects.get()
    delivery = order.deliveries.get()
    Delivery.objects.update(attempts=1)  # a worker already tried once and will retry
    old = order.codes().get()

    new, _ = replace(old, actor="Sam")
    work()

    delivery.refresh_from_db()
    assert (delivery.status, delivery.reason) == ("canceled", "Its license was replaced by another one.")
    [message] = [message for message in mail.outbox if message.to == [order.email]]
    assert new.code in message.body
    assert old.code not in message.body


def test_an_order_is_found_by_a_replaced_code(order, code):
    replace(code, actor="Sam")

    assert Order.objects.with_code(code.code).get() == order


def test_a_bounced_email_with_a_replaced_code_needs_no_attention(order, code):
    order.deliveries.update(status=Delivery.Status.BOUNCED)

    replace(code, actor="Sam")

    assert not lost_deliveries()


class TestReserve:
    def test_reserved_keys_arent_sold(self, pay, make_product, make_pool):
        pool = make_pool(3)
        set_reserve(pool, 2)
        product = make_product(pool=pool)

        answer = pay(product, quantity=3)

        assert len(answer["items"][0]["activation_codes"]) == 1
        assert pool.keys.reserved().count() == 2

    def test_a_person_can_issue_reserved_keys(self, pay, make_product, make_pool, work):
        pool = make_pool(3)
        set_reserve(pool, 2)
        pay(make_product(pool=pool), quantity=3)
        item = Order.objects.get().items.get()

        assert issue_from_reserve(item, actor="Sam") == 2

        assert item.fulfillment.status == Fulfillment.Status.DONE
        assert {code.saved_by for code in item.activation_codes.filter(unit__gte=2)} == {"Sam"}
        work()
        assert sum(message.body.count("-KEY-") for message in mail.outbox if message.to == ["ada@example.com"]) == 3

    def test_waiting_orders_come_before_the_reserve(self, pay, make_product, make_pool, work):
        pool = make_pool(0)
        LicensePool.objects.filter(pk=pool.pk).update(reserve=5)
        pay(make_product(pool=pool), quantity=3)
        stock(pool, 4)

        work()

        assert Order.objects.get().codes().count() == 3
        assert pool.keys.reserved().count() == 1

    def test_shrinking_the_reserve_releases_the_oldest_keys(self, make_pool, order):
        pool = make_pool(10)
        set_reserve(pool, 4)
        assert list(pool.keys.reserved().order_by("position").values_list("position", flat=True)) == [6, 7, 8, 9]
        LicensePool.objects.filter(pk=pool.pk).update(head_hint=10)
        pool.refresh_from_db()

        LicensePool.objects.filter(pk=pool.pk).update(reserve=1)
        fill_reserve(pool)

        pool.refresh_from_db()
        assert list(pool.keys.reserved().values_list("position", flat=True)) == [9]
        assert pool.head_hint == 6

    def test_an_empty_reserve_is_an_error(self, pay, make_product, make_pool):
        pay(make_product(pool=make_pool(0)))

        with pytest.raises(ReplaceRefused, match="no keys in reserve"):
            issue_from_reserve(Order.objects.get().items.get(), actor="Sam")


def test_the_history_names_the_code_that_an_email_contains(code, work):
    """A queued e-mail contains the current code; a sent one keeps the code it had."""
    new, _ = replace(code, actor="Sam")
    newer, _ = replace(new, actor="Sam")

    def mail_lines():
        return [line.text for line in order_history(Order.objects.get()) if line.kind == "mail"]

    first = f"Code ••••{code.hint} e-mailed to ada@example.com"
    assert mail_lines() == [first, f"Code ••••{newer.hint} being e-mailed to ada@example.com"]

    work()
    replace(newer, actor="Sam")
    assert mail_lines()[:2] == [first, f"Code ••••{newer.hint} e-mailed to ada@example.com"]


def test_it_can_allocate_from_the_reserve_while_other_keys_are_available(make_pool, pay, make_product):
    pool = make_pool(3)
    set_reserve(pool, 1)
    pay(make_product(keys=0))

    issued = allocate_keys(pool, Order.objects.get().items.get(), [1], from_reserve=True)

    assert issued[1].position == 2
