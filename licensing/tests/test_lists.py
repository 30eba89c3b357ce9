"""Fields that may be repeated, and lists in responses."""

import pytest
from django.test import Client

from licensing.models import LicensingProduct
from licensing.tests.conftest import BASE, FORM, NAMESPACE, info, item, items, xml

pytestmark = pytest.mark.django_db

SENT = ["100;EUR;10%", "200.5;USD;3"]
RETURNED = [
    {"totalPrice": "100.00", "currency": "EUR", "amountPercent": "10"},
    {"totalPrice": "200.50", "currency": "USD", "amountFix": "3.00"},
]


def test_all_discounts_are_saved_and_returned_as_lists(api):
    made = item(api.post("product", number="P1", name="Photo", discount=SENT))

    assert made["discount"] == RETURNED
    assert item(api.get("product/P1"))["discount"] == RETURNED
    assert items(api.get("product"))[0]["discount"] == RETURNED
    assert LicensingProduct.objects.get().properties == {}


def test_discounts_are_lists_in_json_and_xml(api):
    (returned,) = api.post("product", number="P1", name="Photo", discount="100;EUR;10%").json()["items"]["item"]
    answer = Client().get(BASE + "product/P1", headers={"Authorization": api.headers["Authorization"]})

    (discount,) = returned["list"]
    assert (discount["name"], discount["list"]) == ("discount", [])
    assert {each["name"]: each["value"] for each in discount["property"]} == RETURNED[0]
    assert "discount" not in [each["name"] for each in returned["property"]]
    (found,) = xml(answer).iter(f"{NAMESPACE}list")
    assert found.attrib == {"name": "discount"}
    assert {each.attrib["name"]: each.text for each in found} == RETURNED[0]


@pytest.mark.parametrize("name", ["discount", "discount[]"])
def test_it_accepts_repeated_fields_with_and_without_brackets(api, name):
    assert item(api.post("product", name="Photo", **{name: SENT}))["discount"] == RETURNED


def test_it_accepts_numbered_fields_from_php(api):
    body = "name=Photo&discount%5B0%5D=100%3BEUR%3B10%25&discount%5B1%5D=200.5%3BUSD%3B3"
    answer = api.client.post(BASE + "product", body, content_type=FORM, headers=api.headers)

    assert item(answer)["discount"] == RETURNED


def test_returned_discounts_can_be_sent_back(api):
    api.post("product", number="P1", name="Photo", discount=SENT)
    returned = item(api.get("product/P1"))

    texts = [
        ";".join([one["totalPrice"], one["currency"], one.get("amountFix") or f"{one['amountPercent']}%"])
        for one in returned["discount"]
    ]
    again = item(api.post("product/P1", number="P1", name="Photo", discount=texts))

    assert again == returned


def test_discounts_stay_unless_they_are_sent(api):
    api.post("product", number="P1", name="Photo", discount=SENT)

    assert item(api.post("product/P1", name="Photo 2"))["discount"] == RETURNED
    assert item(api.post("product/P1", discount=["50;EUR;7.50%"]))["discount"] == [
        {"totalPrice": "50.00", "currency": "EUR", "amountPercent": "7.5"}
    ]
    assert "discount" not in item(api.post("product/P1", discount=""))
    assert LicensingProduct.objects.get().discounts == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("10", "doesn't match totalPrice;currency;amount"),
        ("100;EUR", "doesn't match totalPrice;currency;amount"),
        ("100;EUR;undefined", "doesn't match totalPrice;currency;amount"),
        ("-1;EUR;1", "doesn't match totalPrice;currency;amount"),
        ("100;EUR;1.234", "doesn't match totalPrice;currency;amount"),
        ("1e9;EUR;1", "doesn't match totalPrice;currency;amount"),
        ("x" * 5000, "doesn't match totalPrice;currency;amount"),
        ("100;GBP;1", "“GBP” isn't one of EUR, USD"),
        ("100;EUR;101", "takes off more than the total price"),
        ("100;EUR;101%", "takes off more than the total price"),
    ],
)
def test_it_rejects_an_invalid_discount_and_names_the_field(api, text, says):
    answer = api.post("product", name="Photo", discount=["100;EUR;10%", text])

    assert (answer.status_code, info(answer)[0]) == (400, "ValidationException")
    assert info(answer)[1].startswith("discount: ") and says in info(answer)[1]
    assert len(info(answer)[1]) < 200
    assert not LicensingProduct.objects.exists()


def test_a_product_has_at_most_100_discounts(api):
    answer = api.post("product", name="Photo", discount=["1;EUR;1"] * 101)

    assert info(answer) == ("ValidationException", "discount: A product can have at most 100 discounts.")


@pytest.mark.parametrize("name", ["aliases", "aliases[]"])
def test_aliases_may_be_repeated(api, product, name):
    api.post("licensee", productNumber="P1", number="I1", **{name: ["A1", "A2"]})

    assert item(api.get("licensee/A2"))["aliases"] == '["A1", "A2"]'


def test_it_ignores_a_transactions_licenses_that_are_sent_back(api):
    api.post("transaction", number="T1", status="PENDING", source="SHOP")

    changed = item(api.post("transaction/T1", status="CLOSED", licenseTransactionJoin="[object Object]"))

    assert "licenseTransactionJoin" not in changed


@pytest.mark.parametrize("name", ["name", "color"])
def test_it_rejects_two_different_values_for_any_other_field(api, name):
    answer = api.post("product", **{"name": "Photo", name: ["one", "two"]})

    assert info(answer) == ("ValidationException", f"{name}: Send this field only once.")
    assert item(api.post("product", **{"name": "Photo", name: ["one", "one"]}))[name] == "one"


# Lists of resources


def test_an_empty_list_is_returned_as_a_list(api):
    answer = api.get("licensee")

    assert answer.json()["items"]["item"] == []
    assert answer.json()["items"]["totalitems"] == "0"


def test_a_list_is_paged(api):
    for number in range(5):
        api.post("product", number=f"P{number}", name="Photo")

    pages = [api.get("product", filter=f"page={page};items=2") for page in range(3)]

    assert [[each["number"] for each in items(page)] for page in pages] == [["P0", "P1"], ["P2", "P3"], ["P4"]]
    assert [page.json()["items"]["hasnext"] for page in pages] == ["true", "true", "false"]
    assert {key: value for key, value in pages[2].json()["items"].items() if key != "item"} == {
        "pagenumber": "2",
        "itemsnumber": "1",
        "totalpages": "3",
        "totalitems": "5",
        "hasnext": "false",
    }
    assert len(items(api.get("product", page=1, items=2))) == 2
