from decimal import Decimal

import pytest
from django.db.models.functions import Now

from delivery import resending
from delivery.models import Delivery
from fulfillment import actions
from fulfillment.history import order_history
from orders.models import ActivationCode, Order
from orders.services import correct_email, refund, renew_link, reveal, revoke_link


@pytest.fixture
def order(pay, make_product, work):
    pay(make_product(sku="PRO", name="Photo Pro"), quantity=2)
    work()
    return Order.objects.get()


def history_lines(order):
    return [(line.text, line.actor) for line in order_history(Order.objects.get(pk=order.pk))]


def test_it_lists_the_payment_the_codes_and_the_email(order):
    assert history_lines(order) == [
        ("Paid in the shop", ""),
        ("Payment reported", "API key shop-1"),
        ("2 activation codes for Photo Pro saved, from pool", ""),
        ("2 activation codes e-mailed to ada@example.com", ""),
    ]


def test_a_resend_is_one_line_with_its_actor(order, work):
    code = ActivationCode.objects.earliest("pk")
    code_hint = code.hint
    resending.resend(order.items.get(), code, actor="Sam")
    queued_lines = history_lines(order)[4:]
    work()

    assert queued_lines == [(f"Code ••••{code_hint} being resent to ada@example.com", "Sam")]
    assert history_lines(order)[4:] == [(f"Code ••••{code_hint} resent to ada@example.com", "Sam")]


def test_it_lists_what_people_did(order):
    correct_email(order, "ada@byron.example", actor="Sam")
    code = ActivationCode.objects.earliest("pk")
    reveal(code, actor="Bo")
    refund(order, amount=Decimal(10), actor="Olivia")

    assert history_lines(order)[4:] == [
        ("Address corrected from ada@example.com to ada@byron.example", "Sam"),
        (f"Code ••••{code.hint} shown", "Bo"),
        ("EUR 10.00 refunded", "Olivia"),
    ]


def test_a_failed_email_shows_its_reason(order):
    Delivery.objects.update(status="failed", reason="The mail server does not know the address.")

    line = order_history(order)[-1]

    assert line.text == "2 activation codes couldn’t be e-mailed to ada@example.com"
    assert (line.state, line.note) == ("failed", "The mail server does not know the address.")


def test_codes_entered_by_hand_show_the_actor(pay, make_product):
    pay(make_product(source="manual", name="Custom"))
    order = Order.objects.get()

    actions.enter_codes(order.items.get(), {1: "AAAA"}, actor="Sam")

    assert ("1 activation code for Custom saved, entered by hand", "Sam") in history_lines(order)


def test_a_failed_item_shows_its_reason(pay, make_product, order):
    fulfillment = order.items.get().fulfillment
    fulfillment.end(status="failed", reason="The vendor does not answer.")

    line = order_history(Order.objects.get(pk=order.pk))[-1]

    assert (line.text, line.note) == ("No activation code for Photo Pro", "The vendor does not answer.")


def test_codes_seen_at_different_times_get_separate_lines(order):
    first = ActivationCode.objects.earliest("pk")
    ActivationCode.objects.filter(pk=first.pk).update(seen_at=Now())
    assert history_lines(order)[2:] == [
        ("2 activation codes for Photo Pro saved, from pool", ""),
        ("2 activation codes e-mailed to ada@example.com", ""),
        ("1 activation code for Photo Pro seen by the customer", ""),
    ]

    ActivationCode.objects.filter(seen_at=None).update(seen_at=Now())
    assert history_lines(order)[4:] == [("1 activation code for Photo Pro seen by the customer", "")] * 2


def test_a_changed_link_shows_the_actor(order):
    revoke_link(order, actor="Sam")
    renew_link(order, actor="Bo")

    assert history_lines(order)[4:] == [
        ("Customer’s order link revoked", "Sam"),
        ("Customer’s order link renewed", "Bo"),
    ]


def test_a_retry_shows_the_actor(order):
    item = order.items.get()
    item.fulfillment.end(status="failed", reason="The vendor does not answer.")

    actions.retry(item, actor="Sam")

    assert history_lines(order)[-1] == ("Photo Pro retried", "Sam")


def test_the_number_of_queries_doesnt_depend_on_the_number_of_codes(order, django_assert_num_queries):
    order = Order.objects.get()
    with django_assert_num_queries(5):
        order_history(order)
