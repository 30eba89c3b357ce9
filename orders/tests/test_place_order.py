import pytest

from delivery.models import Delivery
from fulfillment.payments import validate_payment
from orders.models import ActivationCode, Order
from orders.placing import PaymentConflict, place_order
from pools.models import LicenseKey


@pytest.fixture
def place(merchant):
    def place(payment):
        validated = validate_payment(merchant, payment)
        return place_order(merchant, validated)

    return place


def test_it_stores_the_reported_payment(place, make_payment, product):
    payment = make_payment(product, quantity=2, additional_parameters={"referer1": "spring-mail"})
    payment["items"][0]["subscription"] = {"id": "S-77", "type": "AR", "period": "P1Y", "parent_order": "A1"}

    order, created = place(payment)

    order.refresh_from_db()
    item = order.items.get()
    assert created
    assert (order.number, order.status, order.currency, order.email) == (
        payment["order"],
        "paid",
        "EUR",
        "ada@example.com",
    )
    assert order.additional_parameters == {"referer1": "spring-mail"}
    assert (item.quantity, item.units, str(item.total_price)) == (2, 2, "59.98")
    assert (item.subscription.reference, item.subscription.period, item.parent_order) == ("S-77", "P1Y", "A1")


def test_reporting_the_same_payment_again_returns_the_same_order(place, make_payment, product):
    payment = make_payment(product)
    order, _ = place(payment)

    again, created = place(payment)

    assert (again.pk, created) == (order.pk, False)
    assert ActivationCode.objects.count() == 1


def test_the_order_of_the_items_does_not_matter(place, make_payment, make_product):
    payment = make_payment(make_product(), make_product())
    place(payment)

    _, created = place(payment | {"items": payment["items"][::-1]})

    assert not created


@pytest.mark.parametrize(
    "change",
    [
        {"currency": "USD"},
        {"language": "de"},
        {"paid_at": "2026-11-22T10:00:59Z"},
        {"customer": {"email": "eve@example.com"}},
        {"additional_parameters": {"referer1": "x"}},
    ],
)
def test_it_rejects_a_contradicting_payment(place, make_payment, product, change):
    payment = make_payment(product)
    order, _ = place(payment)

    with pytest.raises(PaymentConflict, match=payment["order"]):
        place(payment | change)

    assert Order.objects.get().email == "ada@example.com"


def test_two_merchants_can_use_the_same_order_number(place, make_payment, make_product, outsider):
    payment = make_payment(make_product())
    place(payment)
    foreign = make_product(merchant=outsider)
    validated = validate_payment(outsider, make_payment(foreign, order=payment["order"]))

    order, created = place_order(outsider, validated)

    assert created and order.merchant == outsider


@pytest.mark.django_db(transaction=True)
def test_twenty_concurrent_reports_of_one_payment_create_one_order(place, make_payment, product, in_threads):
    payment = make_payment(product, quantity=2)

    results = in_threads(place, [payment] * 20, threads=20)

    assert sum(created for _, created in results) == 1
    assert len({order.pk for order, _ in results}) == 1
    assert ActivationCode.objects.count() == LicenseKey.objects.issued().count() == 2
    assert Delivery.objects.count() == 1


@pytest.mark.parametrize("text", ["A0012345678", "12345678", "0012345678", " A0012345678 ", "B12345678"])
def test_it_finds_a_number_without_its_letters_and_zeros(place, make_payment, product, text):
    place(make_payment(product, order="A0012345678"))

    assert Order.objects.with_number(text).exists()


@pytest.mark.parametrize("text", ["A001234567", "2345678", "", "A"])
def test_it_does_not_find_other_numbers(place, make_payment, product, text):
    place(make_payment(product, order="A0012345678"))

    assert not Order.objects.with_number(text).exists()


def test_a_quantity_rule_of_one_per_item_needs_one_code(place, make_payment, make_product):
    product = make_product(quantity_rule="item")

    order, _ = place(make_payment(product, quantity=7))

    assert order.items.get().units == 1
    assert ActivationCode.objects.count() == 1
