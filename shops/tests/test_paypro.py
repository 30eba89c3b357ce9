"""PayPro Global's external license generator, and its notifications of refunds."""

from decimal import Decimal
from hashlib import md5, sha256
from urllib.parse import urlencode

import pytest

from orders.models import Order
from pools.models import LicenseKey
from shops.models import Event
from shops.processing import wake
from shops.tests.dialects import FORM, ask_paypro, make_paypro, sign_for_paypro
from shops.tests.factories import post, process_due

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(make_connection):
    return make_connection("paypro")


@pytest.fixture
def photo(make_product):
    return make_product(sku="PHOTO-PRO")


def notify(shop, name, **fields):
    response = ask_paypro(shop, IPN_TYPE_NAME=name, **fields)
    process_due()
    return response


def test_the_sale_is_read(shop, photo):
    ask_paypro(shop)

    order = Order.objects.get()
    assert (order.number, order.email, order.country) == ("1001:10011", "ada@example.com", "GB")
    assert (order.currency, order.total()) == ("EUR", Decimal("29.99"))


@pytest.mark.parametrize(("currency", "price"), [("JPY", "900"), ("KWD", "5.120")])
def test_amounts_are_decimals(shop, photo, currency, price):
    ask_paypro(shop, ORDER_CURRENCY_CODE=currency, ORDER_ITEM_TOTAL_AMOUNT=price)

    assert Order.objects.get().total() == Decimal(price)


def test_a_repeated_request_is_the_same_sale(shop, photo):
    first, again = ask_paypro(shop), ask_paypro(shop, IS_RESENT="1")

    assert first.content == again.content
    assert Event.objects.count() == 2


def test_other_notifications_are_acknowledged(shop, photo):
    response = notify(shop, "OrderCharged")

    assert (response.status_code, response.content) == (200, b"")
    assert Event.objects.get().state == "ignored"


@pytest.mark.parametrize("name", ["OrderRefunded", "OrderChargedBack"])
def test_a_full_refund_puts_the_keys_into_quarantine(shop, photo, name):
    ask_paypro(shop)
    notify(shop, name)

    assert Order.objects.get().status == "deleted"
    assert LicenseKey.objects.filter(withdrawn_because="refunded").count() == 1


def test_a_partial_refund_is_recorded_once(shop, photo):
    ask_paypro(shop)
    for again in ("", "1"):
        notify(shop, "OrderPartiallyRefunded", ORDER_ITEM_REFUNDED="9.99", IS_RESENT=again)

    order = Order.objects.get()
    assert (order.status, order.left_to_refund()) == ("paid", Decimal("20.00"))


def test_a_chargeback_that_is_won_gives_the_keys_back(shop, photo):
    ask_paypro(shop)
    notify(shop, "OrderChargedBack")
    notify(shop, "OrderChargebackIsWon")

    assert Order.objects.get().status == "paid"


def test_the_signature_of_the_documentation():
    form = make_paypro(
        order="12345",
        is_test=True,
        IPN_TYPE_NAME="OrderCharged",
        ORDER_TOTAL_AMOUNT="9.99",
        CUSTOMER_EMAIL="",
    )
    assert sign_for_paypro(form, "123qwerty") == sha256(b"12345Processed9.99123qwerty1OrderCharged").hexdigest()


def test_the_constant_hash_of_test_orders_is_no_signature(shop, photo):
    form = make_paypro(is_test=True) | {"HASH": md5(b"1").hexdigest()}  # noqa: S324

    assert post(shop, urlencode(form).encode(), FORM).status_code == 401


@pytest.mark.parametrize("name", ["ORDER_ID", "ORDER_TOTAL_AMOUNT", "CUSTOMER_EMAIL", "TEST_MODE", "IPN_TYPE_NAME"])
def test_signed_fields_cannot_be_changed(shop, photo, name):
    form = make_paypro()
    form |= {"SIGNATURE": sign_for_paypro(form)}

    assert post(shop, urlencode(form | {name: "changed"}).encode(), FORM).status_code == 401


def test_an_earlier_chargeback_processed_again_takes_nothing_back(shop, photo):
    ask_paypro(shop)
    notify(shop, "OrderChargedBack")
    notify(shop, "OrderChargebackIsWon")

    wake(Event.objects.filter(topic="OrderChargedBack"))
    process_due()

    assert Order.objects.get().status == "paid"
