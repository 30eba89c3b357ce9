import pytest

from orders.models import Order

SUBSCRIPTION = {"id": "S-1", "type": "AR", "period": "P1Y", "parent_order": None}


POINTERS = ["order", "items/0/item", "items/0/subscription/id", "items/0/subscription/parent_order"]


@pytest.mark.parametrize("pointer", POINTERS)
@pytest.mark.parametrize("character", ["\u200b", "\u202e", "\u2066", "\x7f"], ids=ascii)
def test_an_identifier_with_an_unseen_character_is_refused_by_name(api, make_payment, product, pointer, character):
    payment = make_payment(product)
    payment["items"][0]["subscription"] = dict(SUBSCRIPTION)
    *path, name = [int(part) if part.isdecimal() else part for part in pointer.split("/")]
    place = payment
    for part in path:
        place = place[part]
    place[name] = f"A{character}77"

    response = api.post("/api/v1/payments/", payment, format="json")

    assert response.status_code == 400
    error = {"pointer": f"#/{pointer}", "detail": f"Remove the invisible character U+{ord(character):04X}."}
    assert error in response.json()["errors"]


def test_a_refund_number_with_one_is_refused_too(api, pay, product):
    order = pay(product)["order"]

    response = api.post(f"/api/v1/orders/{order}/refund/", {"reference": "R\u202e1"}, format="json")

    assert response.status_code == 400 and response.json()["errors"][0]["pointer"] == "#/reference"


def test_names_are_cleaned_and_no_order_is_refused_for_them(api, make_payment, product):
    payment = make_payment(product)
    payment["customer"] |= {"first_name": "A\u202eda", "last_name": "\u200b", "company": "Anal\u00adytical"}

    assert api.post("/api/v1/payments/", payment, format="json").status_code == 201

    order = Order.objects.get()
    assert (order.first_name, order.last_name, order.company) == ("Ada", "", "Analytical")
