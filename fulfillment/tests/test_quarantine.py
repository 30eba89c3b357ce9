from decimal import Decimal

import pytest

from fulfillment.actions import ReturnRefused, return_to_stock
from merchants.models import CheckoutPage
from orders.models import ActivationCode, Order
from orders.services import CodeWithdrawn, refund, reveal, show_to_customer
from pools.imports import import_keys
from pools.models import KeyMovement, LicenseKey, LicensePool

pytestmark = pytest.mark.django_db


@pytest.fixture
def product(make_product):
    return make_product(1)


@pytest.fixture
def order(pay, product):
    """An order from a page that doesn't allow delivery, so nothing was e-mailed."""
    CheckoutPage.objects.update(delivery_allowed=False)
    pay(product)
    return Order.objects.get()


@pytest.fixture
def code(order):
    return order.codes().select_related("item").get()


@pytest.fixture
def key(code):
    return LicenseKey.objects.get(item=code.item)


def test_a_refunded_key_goes_into_quarantine(order, key):
    refund(order, actor="the shop")

    key.refresh_from_db()
    assert (key.status, key.withdrawn_because) == ("withdrawn", "refunded")
    assert KeyMovement.objects.latest("pk").moved_by == "the shop"


def test_a_partial_refund_leaves_the_key_issued(order, key):
    refund(order, amount=Decimal(1), actor="the shop")

    key.refresh_from_db()
    assert key.status == "issued"


def test_an_unseen_key_returns_to_its_place_in_stock(order, code, key, pay, product, work):
    LicensePool.objects.update(head_hint=1)
    refund(order, actor="Sam")

    pool = return_to_stock(code, actor="Sam")

    key.refresh_from_db()
    pool.refresh_from_db()
    assert (key.status, key.unit, key.issued_at, pool.head_hint) == ("available", None, None, 0)
    assert not order.codes()
    assert pay(product)["items"][0]["activation_codes"][0]["code"] == key.code


def test_a_returned_key_goes_to_a_waiting_order(order, code, pay, product, work):
    pay(product)
    refund(order, actor="Sam")
    return_to_stock(code, actor="Sam")

    work()

    assert Order.objects.exclude(pk=order.pk).get().codes().get().code == code.code


@pytest.mark.parametrize("how", ["mailed", "in progress", "seen", "revealed"])
def test_a_key_that_somebody_may_have_seen_stays_in_quarantine(how, pay, product, work):
    pay(product)
    order = Order.objects.get()
    code = order.codes().select_related("item").get()
    if how == "mailed":
        work()
    elif how == "in progress":
        order.deliveries.update(attempts=1)
    elif how == "seen":
        show_to_customer(order, 1, 10)
    else:
        reveal(code, actor="Sam")
    refund(order, actor="Sam")

    with pytest.raises(ReturnRefused):
        return_to_stock(code, actor="Sam")

    assert LicenseKey.objects.withdrawn().count() == 1


def test_it_doesnt_return_a_key_that_wasnt_refunded(code):
    with pytest.raises(ReturnRefused, match="isn’t in quarantine"):
        return_to_stock(code, actor="Sam")


def test_it_returns_a_key_only_once(order, code):
    refund(order, actor="Sam")
    return_to_stock(code, actor="Sam")

    with pytest.raises(ReturnRefused, match="isn’t in quarantine"):
        return_to_stock(code, actor="Sam")


@pytest.mark.django_db(transaction=True)
def test_concurrent_clicks_return_a_key_once(order, code, in_threads):
    refund(order, actor="Sam")

    def click(number):
        try:
            return_to_stock(ActivationCode.all_codes.select_related("item").get(pk=code.pk), actor="Sam")
        except ReturnRefused:
            return False
        return True

    assert sum(in_threads(click, range(8), threads=8)) == 1


def test_a_key_in_quarantine_cant_be_imported_into_another_pool(order, code, key, make_pool):
    """Otherwise it could be sold from both pools."""
    refund(order, actor="Sam")

    result = import_keys(make_pool(), [key.code], actor="Sam")

    assert (result.imported, result.preview.already_in_other_pools.count) == (0, 1)
    return_to_stock(code, actor="Sam")
    assert LicenseKey.objects.available().get() == key


def test_a_key_returned_to_stock_cant_be_revealed(order, code):
    stale = order.codes().select_related("item").get()
    refund(order, actor="Sam")
    return_to_stock(code, actor="Sam")

    with pytest.raises(CodeWithdrawn):
        reveal(stale, actor="Bo")
    assert not order.events.filter(kind="reveal").exists()


@pytest.mark.django_db(transaction=True)
def test_a_key_is_either_shown_or_returned_to_stock(pay, make_product, in_threads):
    """Never both, whichever comes first."""
    CheckoutPage.objects.update(delivery_allowed=False)
    product = make_product(keys=20)
    for _ in range(20):
        pay(product)
    for order in Order.objects.all():
        refund(order, actor="the shop")
    codes = list(ActivationCode.objects.select_related("item"))

    def act(number):
        try:
            code = ActivationCode.objects.select_related("item").get(pk=codes[number // 2].pk)
            return reveal(code, actor="Bo") if number % 2 else return_to_stock(code, actor="Sam")
        except (CodeWithdrawn, ReturnRefused, ActivationCode.DoesNotExist):
            return None

    results = in_threads(act, range(40), 8)

    done = [(bool(returned), bool(shown)) for returned, shown in zip(results[::2], results[1::2], strict=True)]
    assert (True, True) not in done
    assert all(any(pair) for pair in done)
