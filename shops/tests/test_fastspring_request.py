"""FastSpring's remote server requests."""

from hashlib import md5

import pytest

from orders.models import Order
from shops.models import Event
from shops.tests.dialects import FORM, ask_fastspring
from shops.tests.factories import post

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(make_connection):
    return make_connection("fastspring_request", secret="1e9a7d")


def ask(shop, **fields):
    return ask_fastspring(shop, secret="1e9a7d", **fields)


@pytest.fixture
def photo(make_product):
    return make_product(sku="PHOTO-PRO")


def test_the_customer_and_the_product_are_read(shop, photo):
    ask(shop, order="FS130116-4102-91120")

    order = Order.objects.get()
    assert (order.number, order.email, order.company) == (
        "FS130116-4102-91120:PHOTO-PRO",
        "ada@example.com",
        "Engines Ltd",
    )
    assert (order.first_name, order.last_name, order.total()) == ("Ada", "Byron", 0)


def test_orders_and_products_are_never_mixed_up(shop, make_product):
    for sku in ("B", "1-B"):
        make_product(sku=sku)

    assert ask(shop, order="A-1", product="B").content != ask(shop, order="A", product="1-B").content


def test_the_hash_is_over_values_sorted_by_name(shop, photo):
    values = "ada@example.com" + "PHOTO-PRO" + "1" + "FS1"
    form = "reference=FS1&quantity=1&internalProductName=PHOTO-PRO&email=ada%40example.com&security_request_hash={}"
    right = md5(f"{values}1e9a7d".encode()).hexdigest()  # noqa: S324

    assert post(shop, form.format(right).encode(), FORM).status_code == 200
    assert post(shop, form.format(right.upper()).encode(), FORM).status_code == 200
    wrong = md5(values.encode()).hexdigest()  # noqa: S324
    assert post(shop, form.format(wrong).encode(), FORM).status_code == 401


@pytest.mark.parametrize("body", [b"", b"security_request_hash=", b"reference=FS1", b"\xff=1", b"{}"])
def test_a_request_without_a_hash_is_rejected(shop, photo, body):
    assert post(shop, body, FORM).status_code in {400, 401}
    assert not Event.objects.exists()


def test_a_subscription_is_known_if_the_shop_sends_its_period(shop, photo):
    ask(shop, subscriptionReference="FSSUB-1", subscriptionPeriod="P1Y")

    assert Order.objects.filter(items__subscription__reference="FSSUB-1").exists()


def test_without_the_order_there_is_no_license(shop, photo):
    assert ask(shop, order="").status_code == 503
    assert Event.objects.get().cause == "invalid"
