"""The pages with the stock and the settings of a merchant's pools."""

from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from fulfillment.models import Fulfillment
from merchants.models import Member
from orders.models import Order, OrderItem
from pools.imports import import_keys
from pools.models import KeyMovement, LicenseKey, LicensePool
from pools.replenishment import Forecast, Rate
from pools.tests.factories import stock
from portal.pools.stock import get_stock, spell_range

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def manager(client, make_member):
    """A client signed in as a manager."""
    client.force_login(make_member(Member.Role.MANAGER).user)
    return client


def get_page(manager, name, *arguments, query=""):
    return manager.get(reverse(name, args=[argument.pk for argument in arguments]) + query).content.decode()


# The list of pools


def test_without_pools_the_page_explains_what_a_pool_is(manager, merchant):
    assert "A pool is a stock of license keys" in get_page(manager, "pools")


def test_pools_that_need_keys_most_come_first(pay, make_product, make_pool, merchant):
    """First empty pools with waiting orders, then empty, low, never filled, soon empty, and the rest."""
    pools = {
        name: make_pool(name=name)
        for name in ("healthy", "soon", "low", "new", "empty", "one order waiting", "two orders waiting")
    }
    for name in ("healthy", "soon", "low"):
        stock(pools[name], 20)
    LicensePool.objects.filter(name="low").update(threshold=20)
    LicensePool.objects.filter(name="empty").update(next_position=1)
    pay(make_product(pool=pools["soon"]), quantity=5)
    pay(make_product(pool=pools["one order waiting"]))
    more = make_product(pool=pools["two orders waiting"])
    pay(more)
    pay(more)

    assert [row.pool.name for row in get_stock(merchant)] == [
        "two orders waiting", "one order waiting", "empty", "low", "new", "soon", "healthy",
    ]  # fmt: skip


def test_the_list_shows_stock_reserve_sales_and_time_left(manager, pay, make_product, make_pool):
    pool = make_pool(1500, threshold=10)
    product = make_product(pool=pool)
    pay(product, quantity=300)
    LicenseKey.objects.filter(pk__in=pool.keys.available().values("pk")[:4]).update(reserved=True)

    text = get_page(manager, "pools")

    assert "healthy" in text and "1,196" in text and ">4<" in text and ">300<" in text
    assert "to" in text.partition('data-label="Time left"')[2][:30]


def test_an_added_pool_belongs_to_the_merchant(manager, merchant):
    manager.post(
        reverse("pool-add"),
        {"name": "Photo Pro", "threshold": "25", "reserve": "5", "recipients": "a@b.example,c@d.example"},
    )

    pool = merchant.pools.get()
    assert (pool.name, pool.threshold, pool.reserve) == ("Photo Pro", 25, 5)
    assert pool.recipients == ["a@b.example", "c@d.example"]
    assert "No keys have been imported yet" in get_page(manager, "pool", pool)


@pytest.mark.parametrize(
    ("invalid_data", "error"),
    [
        ({"name": "Taken"}, "Another pool already has this name"),
        ({"name": ""}, "This field is required"),
        ({"threshold": "-1"}, "greater than or equal to 0"),
        ({"reserve": "many"}, "Enter a whole number"),
        ({"recipients": "ada@example.com, nobody"}, "Enter a valid email address"),
        ({"recipients": ",".join(f"a{number}@b.example" for number in range(21))}, "no more than 20"),
    ],
)
@pytest.mark.parametrize("name", ["pool-add", "pool-settings"])
def test_it_rejects_invalid_settings(manager, make_pool, merchant, name, invalid_data, error):
    pool = make_pool(name="Photo Pro")
    make_pool(name="Taken")
    arguments = [] if name == "pool-add" else [pool.pk]

    response = manager.post(
        reverse(name, args=arguments), {"name": "New", "threshold": "1", "reserve": "0"} | invalid_data
    )

    assert error in response.content.decode()
    assert merchant.pools.count() == 2 and merchant.pools.get(pk=pool.pk).name == "Photo Pro"


# The page of a pool


def test_the_page_of_a_pool_shows_its_stock_products_and_chart(manager, pay, make_product, make_pool):
    pool = make_pool(500, threshold=10)
    pay(make_product(pool=pool, name="Photo <Pro>"), quantity=88)

    text = get_page(manager, "pool", pool)

    assert "412" in text and "Photo &lt;Pro&gt;" in text and "500 keys" in text
    assert "owner@northlight.example" in text
    assert "the stock went from 0 to 412: 500 keys added, 88 issued." in text
    assert "<polygon" in text and "forecast" in text and "threshold 10" in text
    assert "style=" not in text


def test_it_shows_no_forecast_after_only_a_few_sales(manager, pay, make_product, make_pool):
    pool = make_pool(10)
    pay(make_product(pool=pool), quantity=4)

    text = get_page(manager, "pool", pool)

    assert "not enough sales" in text and 'class="cone"' not in text


def test_it_lists_waiting_orders_by_payment_date_with_their_total_number(manager, pay, make_product, make_pool):
    pool = make_pool(0)
    product, another = make_product(pool=pool), make_product(pool=pool)
    for number in range(12):
        pay(product, another, order=f"W{number:02}")
    Order.objects.update(paid_at=timezone.now())
    Order.objects.filter(number="W11").update(paid_at=timezone.now() - timedelta(days=3))
    Order.objects.filter(number="W05").update(status="deleted")

    text = get_page(manager, "pool", pool)

    assert "11 orders in total" in text
    assert text.index("/orders/W11/") < text.index("/orders/W00/")
    assert "/orders/W05/" not in text and "/orders/W10/" not in text
    assert "3 days ago" in text


def test_it_counts_thousands_of_waiting_orders(
    manager, make_product, make_pool, merchant, django_assert_max_num_queries
):
    pool = make_pool(0)
    product, checkout_page = make_product(pool=pool), merchant.checkout_pages.get()
    orders = Order.objects.bulk_create(
        Order(
            merchant=merchant,
            number=f"W{number}",
            status="paid",
            paid_at=timezone.now(),
            checkout_page=checkout_page,
        )
        for number in range(2_000)
    )
    items = OrderItem.objects.bulk_create(
        OrderItem(order=order, reference="1", product=product, quantity=1, units=1, total_price=1) for order in orders
    )
    Fulfillment.objects.bulk_create(Fulfillment(item=item, status="waiting", due_at=None) for item in items)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # earlier tests can leave statistics of empty tables

    with django_assert_max_num_queries(12):
        text = get_page(manager, "pool", pool)

    assert "2,000 orders in total" in text and text.count("/orders/W") == 10


def test_changing_the_threshold_rearms_the_notice(manager, pay, make_product, make_pool):
    pool = make_pool(12, threshold=10)
    pay(make_product(pool=pool), quantity=3)
    assert LicensePool.objects.get().notified == "low"

    manager.post(reverse("pool-settings", args=[pool.pk]), {"name": "Renamed", "threshold": "5", "reserve": "0"})

    pool.refresh_from_db()
    assert (pool.name, pool.threshold, pool.notified) == ("Renamed", 5, "")


def test_changing_the_reserve_fills_it_immediately_and_records_who_did_it(manager, make_pool):
    pool = make_pool(12)

    manager.post(reverse("pool-settings", args=[pool.pk]), {"name": "P", "threshold": "0", "reserve": "4"})

    assert (pool.keys.available().count(), pool.keys.reserved().count()) == (8, 4)
    assert set(KeyMovement.objects.filter(destination="reserved").values_list("moved_by", flat=True)) == {
        "Sam (manager-sam@northlight.example)"
    }


# Time left, in words


@pytest.mark.parametrize(
    ("earliest", "latest", "expected"),
    [
        (0.2, 0.9, "4 to 22 hours"),
        (2.4, 5.1, "2 to 6 days"),
        (19.3, 27.9, "19 to 28 days"),
        (19.3, 100, "19 to 100 days"),
        (70, 150, "2 to 5 months"),
        (40, None, "40 days or more"),
        (None, None, "more than 10 years"),
        (2000, 3000, "5 to 9 years"),
    ],
)
def test_a_range_uses_a_suitable_unit(earliest, latest, expected):
    times = [None if days is None else timedelta(days=days) for days in (earliest, latest)]

    assert spell_range(*times) == expected


def test_the_forecast_range_only_decreases():
    rate = Rate(per_day=10, days=7, spread=2)
    forecast = Forecast(available=100, week=rate, month=rate, sold=70)

    ranges = [forecast.left_after(days) for days in range(15)]

    assert ranges[0] == (100, 100) and ranges[-1] == (0, 0)
    assert all(low <= high for low, high in ranges)
    assert all(later <= sooner for pair in zip(*ranges, strict=True) for sooner, later in pairwise(pair))


# The keys of a pool


@pytest.fixture
def pool(pay, make_product, make_pool):
    """A pool with keys in every state: two issued, two withdrawn (one of them replaced), one reserved."""
    pool = make_pool(40)
    product = make_product(pool=pool)
    pay(product, order="A1")
    pay(product, order="A2")
    keys = list(pool.keys.available().order_by("position")[:4])
    LicenseKey.objects.filter(pk=keys[0].pk).withdraw()
    LicenseKey.objects.filter(pk=keys[1].pk).update(withdrawn_at=timezone.now(), withdrawn_because="replaced")
    LicenseKey.objects.filter(pk=keys[2].pk).update(reserved=True)
    return pool


@pytest.mark.parametrize(
    ("state", "hints"),
    [
        ("available", ["0040", "0039", "0038"]),
        ("reserved", ["0005"]),
        ("issued", ["0002", "0001"]),
        ("withdrawn", ["0004", "0003"]),
        ("replaced", ["0004"]),
        ("refunded", []),
        ("unheard of", ["0040"]),
    ],
)
def test_it_lists_keys_by_state_and_masks_them(manager, pool, state, hints):
    text = get_page(manager, "pool-keys", pool, query=f"?state={state}")

    listed = [part[:4] for part in text.split("<code>••••")[1:]]
    assert listed[: len(hints)] == hints and bool(listed) == bool(hints)
    assert "POOL" not in text
    assert ("/orders/A1/" in text) == (state == "issued")


def test_the_pages_continue_without_gaps(manager, pool):
    first = get_page(manager, "pool-keys", pool)
    older = first.partition('rel="next"')[0].rpartition('href="')[2].partition('"')[0].replace("&amp;", "&")

    second = get_page(manager, "pool-keys", pool, query=older)

    assert "••••0016" in first and "••••0015" not in first
    assert "••••0015" in second and "••••0016" not in second
    assert 'rel="prev"' in second


def test_it_lists_the_keys_of_a_batch(manager, pool):
    batch = stock(pool, 3).batch

    text = get_page(manager, "pool-keys", pool, query=f"?batch={batch.pk}")

    assert text.count("••••") - text.count("Withdraw ••••") == 3
    assert "Only keys from the batch: 3 keys" in text


def test_it_finds_a_key_by_its_text_and_keeps_the_text_out_of_the_url(manager, pool):
    key = pool.keys.issued().order_by("position").first()

    response = manager.post(reverse("pool-keys", args=[pool.pk]), {"key": f"  {key.code}\r\n"})

    assert key.code not in response["Location"]
    text = manager.get(response["Location"]).content.decode()
    assert "••••0001" in text and "••••0002" not in text and "/orders/A1/" in text


def test_it_does_not_find_a_key_of_another_pool(manager, pool, make_pool, outsider):
    other_key = make_pool(1, merchant=outsider).keys.get()

    response = manager.post(reverse("pool-keys", args=[pool.pk]), {"key": other_key.code}, follow=True)

    assert "never had this key" in response.content.decode()
    assert "••••" not in get_page(manager, "pool-keys", pool, query=f"?key={other_key.pk}")


def test_withdrawing_a_key_asks_for_confirmation(manager, pool):
    key = pool.keys.available().order_by("position").first()
    address = reverse("pool-withdraw", args=[pool.pk, key.pk])
    assert "will never be issued" in manager.get(address).content.decode()
    assert pool.keys.withdrawn().count() == 2

    manager.post(address)

    assert pool.keys.withdrawn().filter(pk=key.pk).exists()
    movement = KeyMovement.objects.filter(key_id=key.pk).latest("pk")
    assert (movement.destination, movement.moved_by) == ("withdrawn", "Sam (manager-sam@northlight.example)")


def test_an_issued_key_cannot_be_withdrawn(manager, pool):
    key = pool.keys.issued().first()

    response = manager.post(reverse("pool-withdraw", args=[pool.pk, key.pk]), follow=True)

    assert "This key is already issued." in response.content.decode()
    assert pool.keys.issued().count() == 2


def test_withdrawing_the_last_key_sends_the_empty_notice(manager, make_pool):
    pool = make_pool(1)

    manager.post(reverse("pool-withdraw", args=[pool.pk, pool.keys.get().pk]))

    assert LicensePool.objects.get().notified == "empty"


@pytest.mark.parametrize("text", ["licensetext1", " LICENSE TEXT 1\r\n", "License-Text-1"])
def test_it_finds_a_key_in_any_spelling(manager, make_pool, text):
    pool = make_pool()
    import_keys(pool, ["LICENSE-TEXT-1", "LICENSE-TEXT-2"], actor="test")

    response = manager.post(reverse("pool-keys", args=[pool.pk]), {"key": text})

    assert response["Location"].endswith(f"?key={pool.keys.get(position=0).pk}")
