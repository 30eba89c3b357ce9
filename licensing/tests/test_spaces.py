"""Pasted numbers often have spaces or a line break around them."""

from urllib.parse import quote

import pytest

from licensing.models import License, Licensee, ProductModule
from licensing.tests.conftest import item, items, sign_in

pytestmark = pytest.mark.django_db

SPACED = [" {}", "{} ", "\t{}\r\n", "\u00a0{}\u2003"]


@pytest.fixture(params=SPACED, ids=ascii)
def spaced(request):
    return request.param.format


def make_rows(merchant):
    api = sign_in(merchant, "rows")
    api.post("product", number="P1", name="Photo", licenseeAutoCreate="true")
    api.post("productmodule", productNumber="P1", number="M1", name="Credits", licensingModel="PayPerUse")
    api.post("licensetemplate", productModuleNumber="M1", number="E1", name="Ten", licenseType="QUANTITY", quantity=10)
    api.post("licensee", productNumber="P1", number="I1", aliases="A1")
    api.post("licensee", productNumber="P1", number="I2")
    api.post("license", licenseeNumber="I1", licenseTemplateNumber="E1", number="L1")
    api.post("licensee/I1", markedForTransfer="true")


@pytest.fixture
def seeded_api(api):
    return api


def path(resource, number, action=""):
    return f"{resource}/{quote(number, safe='')}{action}"


@pytest.mark.parametrize("source", ["I1", "A1"])
def test_it_strips_spaces_in_a_transfer(seeded_api, with_key, spaced, source):
    response = with_key().post(path("licensee", spaced("I2"), "/transfer"), sourceLicenseeNumber=spaced(source))

    assert (response.status_code, response.content) == (204, b"")
    assert License.objects.get().licensee == Licensee.objects.with_number("I2").get()


def test_it_strips_spaces_in_a_validation(seeded_api, with_key, spaced):
    form = {"productModuleNumber0": spaced("M1"), "usedQuantity0": spaced("3")}

    validation = item(with_key().post(path("licensee", spaced("A1"), "/validate"), **form))

    assert validation["remainingQuantity"] == "7"


def test_it_strips_spaces_when_a_validation_creates_a_licensee(seeded_api, with_key, spaced):
    response = with_key().post(path("licensee", spaced("I-NEW"), "/validate"), productNumber=spaced("P1"))

    assert response.status_code == 200
    assert Licensee.objects.with_number("I-NEW").exists()


@pytest.mark.parametrize(
    ("resource", "form"),
    [
        ("product", {"number": "P9", "name": "Video"}),
        ("productmodule", {"productNumber": "P1", "number": "M9", "name": "M", "licensingModel": "MultiFeature"}),
        ("licensetemplate", {"productModuleNumber": "M1", "number": "E9", "name": "E", "licenseType": "FEATURE"}),
        ("licensee", {"productNumber": "P1", "number": "I9"}),
        (
            "license",
            {"licenseeNumber": "I1", "licenseTemplateNumber": "E1", "number": "L9", "transactionNumber": "T1"},
        ),
        ("transaction", {"licenseeNumber": "I1", "number": "T9", "source": "SHOP"}),
    ],
)
def test_it_strips_spaces_from_the_numbers_of_every_resource(seeded_api, spaced, resource, form):
    seeded_api.post("transaction", number="T1", source="SHOP")
    texts = {name: spaced(value) if "umber" in name else value for name, value in form.items()}

    made = item(seeded_api.post(resource, **texts))

    named = {name: made[name] for name in form if name in made and name != "transactionNumber"}
    assert named == {name: value for name, value in form.items() if name in named}
    assert item(seeded_api.get(path(resource, spaced(form["number"]))))["number"] == form["number"]
    assert seeded_api.delete(path(resource, spaced(form["number"]))).status_code in {204, 405}


def test_it_strips_spaces_when_creating_a_licensees_api_key(seeded_api, spaced):
    made = item(seeded_api.post("token", tokenType="APIKEY", licenseeNumber=spaced("I1")))

    assert made["licenseeNumber"] == "I1"


def test_it_strips_spaces_from_lists_of_numbers(seeded_api, spaced):
    changed = item(seeded_api.post("licensee/I2", aliases=f"{spaced('B1')},{spaced('B2')}"))

    assert changed["aliases"] == '["B1", "B2"]'


@pytest.mark.parametrize("query", [{"licenseeNumber": "I1"}, {"productModuleNumber": "M1"}, {"number": "L1"}])
def test_it_strips_spaces_in_filters(seeded_api, spaced, query):
    ((name, value),) = query.items()

    for asked in ({name: spaced(value)}, {"filter": f"{name}={spaced(value)}"}):
        assert [each["number"] for each in items(seeded_api.get("license", page=" 0 ", items=" 5 ", **asked))] == [
            "L1"
        ]


@pytest.mark.parametrize(
    ("resource", "form", "name", "value"),
    [
        ("productmodule", {"licensingModel": "Floating", "maxCheckoutValidity": "60"}, "maxCheckoutValidity", "60"),
        ("productmodule", {"licensingModel": "Rental", "yellowThreshold": "9"}, "yellowThreshold", "9"),
        ("licensetemplate", {"licenseType": "QUANTITY", "quantity": "5"}, "quantity", "5"),
        ("licensetemplate", {"licenseType": "FLOATING", "maxSessions": "5"}, "maxSessions", "5"),
        ("licensetemplate", {"licenseType": "FEATURE", "price": "5", "currency": "EUR"}, "price", "5.00"),
    ],
)
def test_it_strips_spaces_from_quantities(seeded_api, spaced, resource, form, name, value):
    parents = {"productNumber": "P1", "productModuleNumber": "M1"}

    assert item(seeded_api.post(resource, name="X", **parents, **(form | {name: spaced(form[name])})))[name] == value


def test_it_strips_spaces_from_the_quota_of_a_node_locked_license(seeded_api, spaced):
    ProductModule.objects.update(licensing_model="NodeLocked", node_secret_mode="CLIENT")
    seeded_api.post("license/L1", quota=spaced("2"))

    answers = [item(seeded_api.post("licensee/I1/validate", nodeSecret=secret))["valid"] for secret in "abc"]

    assert answers == ["true", "true", "false"]
