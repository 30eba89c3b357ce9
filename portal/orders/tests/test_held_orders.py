"""Orders that are being checked for fraud: people see it, and members approve them."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from fulfillment.attention import newest_needing_attention
from fulfillment.holds import UNTIL_APPROVED
from fulfillment.tests.factories import fulfill_due
from orders.models import Order
from orders.services import refund
from portal.attention.causes import count_needing_attention
from shops.tests.factories import make_connection
from shops.tests.factories import send_order as send
from shops.tests.senders import make_order as make_sale

pytestmark = pytest.mark.django_db


@pytest.fixture
def hold(merchant, make_product):
    """Report a sale of a shop whose orders are held for some hours, or until they are approved."""
    make_product(sku="PHOTO-PRO")

    def hold(hours=0):
        send(make_connection(merchant, "woocommerce", hold_hours=hours), make_sale())
        return Order.objects.get()

    return hold


def page(client, order, action=""):
    return client.get(reverse(f"order-{action}" if action else "order", args=[order.number])).content.decode()


def test_the_order_page_says_that_the_order_is_being_checked(support, hold):
    text = page(support, hold())

    assert "being checked" in text and "until you approve it" in text


def test_the_order_page_says_when_the_check_ends(support, hold):
    order = hold(48)

    assert f"{order.held_until:%-d %b %Y, %H:%M}" in page(support, order)


def test_approving_delivers_the_order(support, hold, mailoutbox):
    order = hold()
    assert "Approve order 727?" in page(support, order, "approve")

    text = support.post(reverse("order-approve", args=[order.number]), follow=True).content.decode()
    fulfill_due()

    assert "Order approved. The e-mail to ada@example.com is on its way." in text
    assert "being checked" not in text
    assert order.codes().count() == 2
    assert "Order approved, by" in page(support, order).replace("\n", " ")


def test_an_order_that_is_not_held_cannot_be_approved(support, hold):
    order = hold()
    support.post(reverse("order-approve", args=[order.number]))

    response = support.post(reverse("order-approve", args=[order.number]))

    assert response.status_code == 409
    assert "The order isn’t held back." in response.content.decode()


def test_a_held_order_needs_attention_until_it_is_decided(support, merchant, hold):
    order = hold()

    assert newest_needing_attention(10, merchant) == [order.pk]
    assert count_needing_attention(merchant, 10) == 1
    assert "being checked" in support.get(reverse("attention")).content.decode()

    refund(order, actor="test")

    assert newest_needing_attention(10, merchant) == []
    assert "until you approve it" not in page(support, order)


def test_a_hold_that_is_over_needs_no_attention(merchant, hold):
    order = hold()
    Order.objects.filter(pk=order.pk).update(held_until=timezone.now() - timedelta(seconds=1))

    assert newest_needing_attention(10, merchant) == []


def test_the_home_page_counts_held_orders(merchant, client, hold):
    hold()
    client.force_login(merchant.members.get().user)

    text = client.get(reverse("home")).content.decode()

    assert "1 order is being checked</a>" in text


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Northlight is checking your order."),
        ("de", "Northlight prüft Ihre Bestellung."),
        ("fr", "Northlight vérifie votre commande."),
        ("es", "Northlight está revisando su pedido."),
        ("ru", "Northlight проверяет ваш заказ."),
    ],
)
def test_the_customer_reads_that_the_order_is_being_checked(client, hold, language, text):
    order = hold()
    assert order.held_until == UNTIL_APPROVED

    assert text in client.get(f"/o/{order.link_token}/?language={language}").content.decode()
