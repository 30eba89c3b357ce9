"""A 409 points to the fields that differ from the first report, and reveals nothing else."""

import json

import pytest

from merchants.models import CheckoutPage
from orders.models import Order
from orders.services import correct_email

URL = "/api/v1/payments/"


@pytest.fixture
def payment(make_payment, make_product):
    payment = make_payment(make_product(), make_product(), additional_parameters={"referer1": "x"})
    payment["items"][1]["item"] = "B/2~"
    payment["items"][0]["subscription"] = {"id": "S-1", "type": "AR", "period": "P1Y", "parent_order": None}
    return payment


@pytest.fixture
def pointers(api, payment, merchant):
    """Report the payment, then a changed copy; return the pointers to the differences and the response."""
    CheckoutPage.objects.create(merchant=merchant, code="side")
    assert api.post(URL, payment, format="json").status_code == 201

    def report(change):
        changed = json.loads(json.dumps(payment))
        change(changed)
        response = api.post(URL, changed, format="json")
        assert response.status_code == 409, response.data
        return [error["pointer"] for error in response.json()["errors"]], response

    return report


def change(*path, to):
    def apply(payment):
        for part in path[:-1]:
            payment = payment[part]
        payment[path[-1]] = to

    return apply


CHANGES = [
    (change("currency", to="USD"), ["#/currency"]),
    (change("paid_at", to="2026-11-22T10:00:59Z"), ["#/paid_at"]),
    (change("language", to="de"), ["#/language"]),
    (change("checkout_page", to="side"), ["#/checkout_page"]),
    (change("customer", "email", to="eve@example.com"), ["#/customer/email"]),
    (change("customer", "first_name", to="Eve"), ["#/customer/first_name"]),
    (change("customer", "company", to="Evil Ltd"), ["#/customer/company"]),
    (change("customer", "country", to="DE"), ["#/customer/country"]),
    (change("additional_parameters", to={}), ["#/additional_parameters"]),
    (change("items", 0, "total_price", to="59.99"), ["#/items/0/total_price"]),
    (change("items", 1, "quantity", to=2), ["#/items/1/quantity"]),
    (change("items", 1, "product", to="OTHER"), ["#/items/1/product"]),
    (change("items", 0, "subscription", to=None), ["#/items/0/subscription"]),
    (change("items", 0, "subscription", "period", to="P1M"), ["#/items/0/subscription"]),
    (lambda payment: payment["items"].pop(), ["#/items"]),
    (lambda payment: payment["items"].append(payment["items"][0] | {"item": "3"}), ["#/items/2"]),
    (change("items", 1, "item", to="B/3"), ["#/items", "#/items/1"]),
    (
        lambda payment: (payment["items"].reverse(), payment["items"][0].update(total_price="1.00")),
        ["#/items/0/total_price"],
    ),
    (lambda payment: payment.update(currency="USD", language="de"), ["#/currency", "#/language"]),
]


@pytest.mark.parametrize("changed, expected", CHANGES, ids=[str(expected) for _, expected in CHANGES])
def test_it_points_to_the_fields_that_differ(pointers, changed, expected):
    assert pointers(changed)[0] == expected


def test_it_reveals_no_customer_data_or_codes(pointers):
    _, response = pointers(lambda payment: payment["customer"].update(email="eve@example.com", first_name="Eve"))
    text = response.content.decode()

    assert not [secret for secret in ("ada@", "Ada", "Byron", "-KEY-", "eve") if secret in text]


def test_later_changes_to_the_order_cause_no_conflict(api, payment):
    api.post(URL, payment, format="json")
    order = Order.objects.get()
    correct_email(order, "ada@byron.example", actor="Sam")
    Order.objects.update(first_name="", additional_parameters={})

    assert api.post(URL, payment, format="json").status_code == 200
    payment["customer"]["email"] = "ada@byron.example"
    assert api.post(URL, payment, format="json").json()["errors"][0]["pointer"] == "#/customer/email"
