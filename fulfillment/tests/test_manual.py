import pytest

from fulfillment.actions import CodeRefused, enter_codes, retry
from fulfillment.engine import fulfill
from fulfillment.models import Fulfillment
from notices.models import MerchantNotice
from orders.models import ActivationCode, Order, OrderItem
from orders.services import refund
from pools.imports import import_keys


@pytest.fixture
def item(pay, make_product):
    pay(make_product(source="manual", name="Custom"), order="A1", quantity=2)
    return Order.objects.get().items.get()


def test_it_sends_the_merchant_one_notice(item, work, mailoutbox):
    work()
    item.fulfillment.status = "pending"
    work()

    assert MerchantNotice.objects.get().kind == "code_wanted"
    (message,) = mailoutbox
    assert message.subject == "Activation code needed: order A1, Custom"
    assert "/orders/A1/?merchant=northlight" in message.body


def test_the_item_waits_for_a_person(item):
    assert item.fulfillment.status == "waiting"
    assert "person to enter" in item.fulfillment.reason


def test_entered_codes_are_saved_and_emailed(item, work, mailoutbox):
    work()
    mailoutbox.clear()

    enter_codes(item, {1: "AAAA", 2: "BBBB\nsecond line"}, actor="Max")
    work()

    item.fulfillment.refresh_from_db()
    assert item.fulfillment.status == "done"
    assert ActivationCode.objects.get(unit=1).saved_by == "Max"
    assert "AAAA\n\nBBBB\nsecond line" in mailoutbox[0].body


def test_entering_one_of_two_codes_leaves_the_item_waiting(item):
    enter_codes(item, {2: "BBBB"}, actor="Max")

    assert item.missing_units() == [1]
    item.fulfillment.refresh_from_db()
    assert item.fulfillment.status == "waiting"


def test_it_rejects_a_code_for_a_unit_that_already_has_one(item):
    enter_codes(item, {1: "AAAA"}, actor="Max")

    with pytest.raises(CodeRefused, match="Unit 1 already has an activation code"):
        enter_codes(item, {1: "CCCC", 2: "BBBB"}, actor="Sam")

    assert ActivationCode.objects.get().code == "AAAA"


def test_it_rejects_codes_for_an_unpaid_order(item):
    refund(item.order, actor="shop")

    with pytest.raises(CodeRefused, match="deleted"):
        enter_codes(item, {1: "AAAA"}, actor="Max")


def test_codes_entered_while_a_worker_runs_finish_the_item(item, monkeypatch):
    def enter_during_attempt(self):
        enter_codes(Order.objects.get().items.get(), {1: "AAAA", 2: "BBBB"}, actor="Max")
        return "The merchant has been asked."

    Fulfillment.objects.update(status="pending", due_at="2026-01-01T00:00:00Z")
    monkeypatch.setattr("fulfillment.sources.manual.source.ManualSource.shortage", enter_during_attempt)

    fulfill(item.fulfillment.pk)

    assert Fulfillment.objects.get().status == "done"


@pytest.mark.django_db(transaction=True)
def test_only_one_of_two_concurrent_entries_succeeds(item, in_threads):
    def enter(text):
        try:
            enter_codes(item, {1: text}, actor="Max")
        except CodeRefused:
            return False
        return True

    assert sum(in_threads(enter, ["AAAA", "BBBB"], threads=2)) == 1
    assert ActivationCode.objects.count() == 1


def test_it_rejects_a_key_that_is_in_stock(item, make_pool):
    import_keys(make_pool(), ["KEY-AAAA-BBBB-0001"], actor="test")

    with pytest.raises(CodeRefused, match="a key in the pool “Pool 1” .available"):
        enter_codes(item, {1: "KEY-AAAA-BBBB-0001"}, actor="Sam")


def test_it_rejects_a_code_issued_to_another_customer(item, pay, make_product):
    enter_codes(item, {1: "ONLY-ONE"}, actor="Sam")
    pay(make_product(source="manual"), order="B1")
    other = OrderItem.objects.get(order__number="B1")

    with pytest.raises(CodeRefused, match="was already issued to Order A1"):
        enter_codes(other, {1: "ONLY-ONE"}, actor="Sam")
    enter_codes(other, {1: "https://vendor.example/download"}, actor="Sam")


def test_a_retry_resets_the_one_day_deadline(item):
    Fulfillment.objects.update(status="failed", failing_since="2026-01-01T00:00:00Z", due_at=None)

    retry(item, actor="Sam")

    assert not Fulfillment.objects.get().is_last_attempt
