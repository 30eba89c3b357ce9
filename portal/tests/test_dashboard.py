"""The dashboard of owners and managers."""

from datetime import timedelta

import pytest
import time_machine
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from delivery.models import Delivery
from fulfillment.models import Fulfillment
from merchants.models import Member
from orders.models import Order, OrderItem
from outbound.models import MailAccount
from pools.models import KeyImport
from portal.sales import DAYS, read_days, read_today
from portal.templatetags.portal import amounts, seconds

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


def test_it_compares_today_with_yesterday_at_the_same_time(page, pay, make_product, work, merchant):
    product = make_product(keys=20)
    for currency in ("EUR", "EUR", "USD"):
        pay(product, product, currency=currency)
    for number in ("YESTERDAY", "LATER", "DELETED"):
        pay(product, order=number)
    work()
    noon = timezone.now().replace(hour=12, minute=0)
    Order.objects.update(paid_at=noon)
    Order.objects.filter(number="YESTERDAY").update(paid_at=noon - timedelta(hours=25))
    Order.objects.filter(number="LATER").update(paid_at=noon - timedelta(hours=14))
    Order.objects.filter(number="DELETED").update(status="deleted")

    with time_machine.travel(noon + timedelta(hours=1), tick=False):
        today, yesterday = read_today(merchant)
        days = dict(read_days(merchant, today.orders))

    assert (today.orders, today.licenses, yesterday.orders) == (3, 6, 1)
    assert amounts(today.totals) == "EUR 239.92 and USD 119.96"
    assert today.median and today.p99 and 0 < today.median <= today.p99
    assert days[noon.date()] == 3 and days[noon.date() - timedelta(days=1)] == 2 and len(days) == DAYS


def test_days_begin_at_midnight_where_the_person_is(page, pay, make_product, merchant):
    pay(make_product(keys=1))
    Order.objects.update(paid_at="2026-07-01T22:30:00Z")

    with time_machine.travel("2026-07-02T10:00:00Z", tick=False):
        assert read_today(merchant)[0].orders == 0
        with timezone.override("Europe/Berlin"):
            assert read_today(merchant)[0].orders == 1


def test_it_shows_the_sales_and_the_latest_orders(page, pay, make_product, work):
    pay(make_product(keys=5), order="A1")
    work()
    mark_paid_today()
    text = dashboard_text(page)

    assert "EUR 59.98" in text and "1 orders in 30 days" not in text and "1 order in 30 days" in text
    assert "Last 7 days: 1; the 7 days before: 0." in text
    assert 'href="/orders/A1/">A1</a>' in text and "Delivered within" in text


@pytest.mark.parametrize(
    ("number", "text"), [(None, "–"), (0.84, "0.8 s"), (12.4, "12 s"), (300, "5 min"), (90_000, "25 h")]
)
def test_times_are_in_their_largest_unit(number, text):
    assert seconds(number) == text


def test_it_shows_the_most_urgent_pools(page, make_pool, pay, make_product):
    for number in range(7):
        make_pool(5, name=f"Healthy {number}")
    pay(make_product(pool=make_pool(name="Empty")))

    text = dashboard_text(page)

    assert "Empty is empty: 1 order</a>" in text and "Nothing right now" not in text
    assert text.index("Empty") < text.index("Healthy 0")
    assert "Healthy 5" not in text and "All pools (2 more)" in text


def test_a_pool_never_filled_offers_an_upload_instead_of_a_chart(page, make_pool, pay, make_product):
    pool = make_pool(name="Fresh")
    link = f'{reverse("pool", args=[pool.pk])}">'
    assert f'class="button" href="{link}' in dashboard_text(page) and "new</span>" in dashboard_text(page)

    pay(make_product(pool=pool))
    assert f'class="button" href="{link}' not in dashboard_text(page), "A customer waits: it is empty"


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

    assert "Theirs" not in text and "EUR" not in strip_tags(text)
    assert "Nothing right now. No orders are stuck" in text
