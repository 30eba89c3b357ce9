"""The dashboard of owners and managers."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from delivery.models import Delivery
from fulfillment.models import Fulfillment
from merchants.models import Member
from orders.models import Order, OrderItem
from outbound.models import MailAccount
from pools.models import KeyImport

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def page(client, make_member):
    """A client signed in as a manager."""
    client.force_login(make_member(Member.Role.MANAGER).user)
    return client


def dashboard_text(page):
    return page.get("/").content.decode()


def mark_paid_today():
    Order.objects.update(paid_at=timezone.now())


def test_it_redirects_support_to_the_orders(support):
    assert support.get("/")["Location"] == reverse("orders")


def test_without_any_data_it_says_how_to_start(page):
    text = dashboard_text(page)

    assert "No pools yet" in text and "Nothing right now. No orders are stuck" in text


def test_it_shows_todays_orders_by_currency(page, pay, make_product):
    product = make_product(keys=20)
    for currency in ("EUR", "EUR", "USD"):
        pay(product, product, currency=currency)
    pay(product, order="YESTERDAY")
    pay(product, order="DELETED")
    mark_paid_today()
    Order.objects.filter(number="YESTERDAY").update(paid_at=timezone.now() - timedelta(days=1))
    Order.objects.filter(number="DELETED").update(status="deleted")

    text = dashboard_text(page)

    assert '2 <span class="quiet">for EUR 239.92</span>' in text
    assert '1 <span class="quiet">for USD 119.96</span>' in text


def test_it_shows_the_most_urgent_pools(page, make_pool, pay, make_product):
    for number in range(7):
        make_pool(5, name=f"Healthy {number}")
    pay(make_product(pool=make_pool(name="Empty")))

    text = dashboard_text(page)

    assert "Empty is empty: 1 order</a>" in text and "Nothing right now" not in text
    assert text.index("Empty") < text.index("Healthy 0")
    assert "Healthy 5" not in text and "All pools (2 more)" in text
    assert f'href="{reverse("orders")}?fulfillment=waiting">1</a>' in text


def test_it_shows_what_needs_attention(page, pay, make_product, merchant):
    pay(make_product(keys=0))
    pay(make_product(keys=5))
    Fulfillment.objects.filter(status="waiting").update(created_at=timezone.now() - timedelta(hours=2))
    Delivery.objects.update(status="bounced")
    MailAccount.objects.create(
        merchant=merchant, kind="postmark", credentials='{"password": "", "tracking_secret": ""}', reason="401"
    )

    text = dashboard_text(page)

    assert "is empty: 1 order</a>" in text
    assert "1 address bounced</a>" in text
    assert "Your mail server rejects our login</a>" in text


def test_it_shows_open_imports(page, make_pool):
    pool = make_pool(name="Photo Pro")
    for status in (KeyImport.Status.READY, KeyImport.Status.IMPORTED):
        KeyImport.objects.create(pool=pool, status=status, file_name=f"{status}.txt", size=1, uploaded_by="Max")

    text = dashboard_text(page)

    assert "ready.txt" in text and "imported.txt" not in text


def test_it_shows_nothing_of_another_merchant(page, pay, make_product, make_pool, outsider):
    pay(make_product(keys=0))
    make_pool(merchant=outsider, name="Theirs")
    product = make_product(merchant=outsider, pool=make_pool(merchant=outsider, name="Theirs, too"))
    Order.objects.update(merchant=outsider)
    OrderItem.objects.update(product=product)
    Fulfillment.objects.update(created_at=timezone.now() - timedelta(hours=2))
    mark_paid_today()

    text = dashboard_text(page)

    assert "Theirs" not in text and "EUR" not in text and "?fulfillment=waiting" not in text
    assert "Nothing right now. No orders are stuck" in text
