"""Numbers are pasted, often with spaces or a line break around them."""

from urllib.parse import quote

import pytest

from licensing.models import License, Licensee, ProductModule
from licensing.tests.conftest import item, items, sign_in

pytestmark = pytest.mark.django_db

AROUND = [" {}", "{} ", "\t{}\r\n", "\u00a0{}\u2003"]


@pytest.fixture(params=AROUND, ids=ascii)
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
def chain(api):
    return api


def path(resource, number, action=""):
    return f"{resource}/{quote(number, safe='')}{action}"


@pytest.mark.parametrize("source", ["I1", "A1"])
def test_a_transfer(chain, with_key, spaced, source):
    response = with_key().post(path("licensee", spaced("I2"), "/transfer"), sourceLicenseeNumber=spaced(source))

    assert (response.status_code, response.content) == (204, b"")
    assert License.objects.get().licensee == Licensee.objects.with_number("I2").get()


def test_a_validation(chain, with_key, spaced):
    form = {"productModuleNumber0": spaced("M1"), "usedQuantity0": spaced("3")}

    validation = item(with_key().post(path("licensee", spaced("A1"), "/validate"), **form))

    assert validation["remainingQuantity"] == "7"


def test_a_licensee_that_a_validation_makes(chain, with_key, spaced):
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
def test_every_resource(chain, spaced, resource, form):
    chain.post("transaction", number="T1", source="SHOP")
    texts = {name: spaced(value) if "umber" in name else value for name, value in form.items()}

    made = item(chain.post(resource, **texts))

    named = {name: made[name] for name in form if name in made and name != "transactionNumber"}
    assert named == {name: value for name, value in form.items() if name in named}
    assert item(chain.get(path(resource, spaced(form["number"]))))["number"] == form["number"]
    assert chain.delete(path(resource, spaced(form["number"]))).status_code in {204, 405}


def test_a_key_for_one_licensee(chain, spaced):
    made = item(chain.post("token", tokenType="APIKEY", licenseeNumber=spaced("I1")))

    assert made["licenseeNumber"] == "I1"


def test_lists_of_numbers(chain, spaced):
    changed = item(chain.post("licensee/I2", aliases=f"{spaced('B1')},{spaced('B2')}"))

    assert changed["aliases"] == '["B1", "B2"]'


@pytest.mark.parametrize("query", [{"licenseeNumber": "I1"}, {"productModuleNumber": "M1"}, {"number": "L1"}])
def test_filters(chain, spaced, query):
    ((name, value),) = query.items()

    for asked in ({name: spaced(value)}, {"filter": f"{name}={spaced(value)}"}):
        assert [each["number"] for each in items(chain.get("license", page=" 0 ", items=" 5 ", **asked))] == ["L1"]


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
def test_quantities(chain, spaced, resource, form, name, value):
    parents = {"productNumber": "P1", "productModuleNumber": "M1"}

    assert item(chain.post(resource, name="X", **parents, **(form | {name: spaced(form[name])})))[name] == value


def test_the_quota_of_a_node_locked_license(chain, spaced):
    ProductModule.objects.update(licensing_model="NodeLocked", node_secret_mode="CLIENT")
    chain.post("license/L1", quota=spaced("2"))

    answers = [item(chain.post("licensee/I1/validate", nodeSecret=secret))["valid"] for secret in "abc"]

    assert answers == ["true", "true", "false"]
