"""A form in, a license out."""

from base64 import b64encode
from decimal import Decimal
from urllib.parse import urlencode

import pytest

from orders.models import Order
from shops.models import Event
from shops.tests.dialects import FORM, ask_plain, make_plain
from shops.tests.factories import post
from shops.tests.senders import SECRET

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(make_connection):
    return make_connection("plain")


@pytest.fixture
def photo(make_product):
    return make_product(sku="PHOTO-PRO")


def test_all_fields_are_read(shop, photo):
    ask_plain(
        shop,
        total_price="29.99",
        currency="EUR",
        first_name="Ada",
        last_name="Byron",
        company="Engines Ltd",
        country="GB",
        language="de",
        subscription_id="S-1",
        subscription_period="P1Y",
    )

    order = Order.objects.get()
    assert (order.number, order.email, order.country) == ("1001:PHOTO-PRO", "ada@example.com", "GB")
    assert (order.currency, order.total(), order.language) == ("EUR", Decimal("29.99"), "de")
    assert order.items.filter(subscription__reference="S-1").exists()


@pytest.mark.parametrize("separator", ["-", ":", "%3A"])
def test_orders_and_products_are_never_mixed_up(shop, make_product, separator):
    for sku in ("B", f"1{separator}B"):
        make_product(sku=sku)

    first = ask_plain(shop, order=f"A{separator}1", product="B")
    assert ask_plain(shop, order="A", product=f"1{separator}B").content != first.content
    assert Order.objects.count() == 2


def test_the_address_may_be_unknown(shop, photo):
    assert ask_plain(shop, email="").status_code == 200
    assert Order.objects.get().email == "unknown@customer.invalid"


def test_the_password_may_be_that_of_basic_authentication(shop, photo):
    login = b64encode(f"any:{SECRET}".encode()).decode()

    assert post(shop, urlencode(make_plain()).encode(), FORM, Authorization=f"Basic {login}").status_code == 200


@pytest.mark.parametrize("login", ["", "Bearer", "Bearer x", f"Token {SECRET}x", "Basic !", "Basic eDp4"])
def test_a_wrong_password_is_rejected(shop, photo, login):
    assert post(shop, urlencode(make_plain()).encode(), FORM, Authorization=login).status_code == 401
    assert not Event.objects.exists()


def test_the_previous_password_is_valid_for_a_day(shop, photo):
    shop.rotate()

    assert ask_plain(shop).status_code == 200
