import pytest

from orders.models import Order

SUBSCRIPTION = {"id": "S-1", "type": "AR", "period": "P1Y", "parent_order": None}
POINTERS = ["order", "items/0/item", "items/0/subscription/id", "items/0/subscription/parent_order"]


@pytest.mark.parametrize("pointer", POINTERS)
@pytest.mark.parametrize("character", ["\u200b", "\u202e", "\u2066", "\x7f"], ids=ascii)
def test_it_rejects_an_identifier_with_an_invisible_character_and_names_it(
    api, make_payment, product, pointer, character
):
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


def test_it_rejects_a_refund_reference_with_an_invisible_character(api, pay, product):
    order = pay(product)["order"]

    response = api.post(f"/api/v1/orders/{order}/refund/", {"reference": "R\u202e1"}, format="json")

    assert response.status_code == 400 and response.json()["errors"][0]["pointer"] == "#/reference"


def test_it_removes_invisible_characters_from_names_and_accepts_the_order(api, make_payment, product):
    payment = make_payment(product)
    payment["customer"] |= {"first_name": "A\u202eda", "last_name": "\u200b", "company": "Anal\u00adytical"}

    assert api.post("/api/v1/payments/", payment, format="json").status_code == 201

    order = Order.objects.get()
    assert (order.first_name, order.last_name, order.company) == ("Ada", "", "Analytical")
