"""Validation parameters with and without an index, as the MCP server and curl examples send them."""

import pytest

from licensing.models import FloatingSession, License
from licensing.tests.conftest import info, items

pytestmark = pytest.mark.django_db


@pytest.fixture
def seats(make_module, make_template):
    module = make_module("Floating", number="M-FL", max_checkout_validity=3600)
    return make_template("FLOATING", module=module, max_sessions=5)


@pytest.fixture
def nodes(make_module, make_template):
    module = make_module("NodeLocked", number="M-NL", node_secret_mode="CLIENT")
    return make_template("QUANTITY", module=module, quantity=1)


@pytest.fixture
def credits(make_module, make_template):
    return make_template("QUANTITY", module=make_module("PayPerUse", number="M-PPU"), quantity=10)


@pytest.fixture
def licensee(make_licensee, make_license, seats, nodes, credits):
    licensee = make_licensee("I-1")
    for template in (seats, nodes, credits):
        make_license(licensee, template)
    return licensee


@pytest.fixture
def request_validation(with_key, licensee):
    return lambda **form: with_key().post("licensee/I-1/validate", **form)


def valid(response):
    assert response.status_code == 200, response.content
    return {each["productModuleNumber"] for each in items(response) if each["valid"] == "true"}


SESSION = {"sessionId": "ada", "action": "checkOut"}


@pytest.mark.parametrize(
    ("form", "module"),
    [
        ({"productModuleNumber": "M-FL", **SESSION}, "M-FL"),
        ({"productModuleNumber": " M-FL ", **SESSION}, "M-FL"),
        ({"productModuleNumber0": "M-FL", "sessionId0": "ada", "action0": "checkOut"}, "M-FL"),
        ({"productModuleNumber": "M-FL", "sessionId0": "ada", "action0": "checkOut"}, "M-FL"),
        ({"productModuleNumber0": "M-FL", **SESSION}, "M-FL"),
        ({"productModuleNumber3": "M-FL", "sessionId3": "ada", "action": "checkOut"}, "M-FL"),
        (SESSION, "M-FL"),
        ({"productModuleNumber": "M-NL", "nodeSecret": "computer"}, "M-NL"),
        ({"productModuleNumber0": "M-NL", "nodeSecret0": "computer"}, "M-NL"),
        ({"nodeSecret": "computer"}, "M-NL"),
    ],
)
def test_an_index_is_optional(request_validation, form, module):
    assert valid(request_validation(**form)) == {module, "M-PPU"}


def test_parameters_for_several_modules_may_lack_an_index(request_validation):
    """The MCP server names one module and adds every parameter it got."""
    response = request_validation(productModuleNumber="M-NL", nodeSecret="computer", usedQuantity=3, **SESSION)

    assert valid(response) == {"M-FL", "M-NL", "M-PPU"}
    assert License.objects.get(template__module__number="M-PPU").used_quantity == 3
    assert FloatingSession.objects.count() == 1


def test_one_module_with_an_index_and_one_without(request_validation):
    response = request_validation(
        productModuleNumber="M-NL", nodeSecret="computer", productModuleNumber0="M-PPU", usedQuantity0=4
    )

    assert valid(response) == {"M-NL", "M-PPU"}
    assert License.objects.get(template__module__number="M-PPU").used_quantity == 4


@pytest.mark.parametrize("used", ["usedQuantity", "reserveQuantity"])
def test_quantities_may_lack_an_index(request_validation, used):
    request_validation(**{"productModuleNumber": "M-PPU", used: " 3 "})

    assert License.objects.get(template__module__number="M-PPU").used_quantity == 3


def test_a_checkout_without_an_index_asks_for_less_time(request_validation):
    request_validation(maxCheckoutValidity=1, **SESSION)
    session = FloatingSession.objects.get()
    short = session.expires_at

    request_validation(maxCheckoutValidity=600, **SESSION)

    session.refresh_from_db()
    assert (session.expires_at - short).total_seconds() > 500


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"sessionId": "ada"}, "action is not provided"),
        ({"action": "checkOut"}, "sessionId is not provided"),
        ({"action": "steal", "sessionId": "ada"}, "action must be checkOut or checkIn"),
        ({"usedQuantity": "many"}, "usedQuantity is not a whole number"),
        ({"productModuleNumber0": "M-PPU", "usedQuantity": "many"}, "usedQuantity is not a whole number"),
        ({"productModuleNumber0": "M-PPU", "usedQuantity0": "1", "usedQuantity": "2"}, "usedQuantity contradicts"),
        (
            {"productModuleNumber": "M-PPU", "productModuleNumber0": "M-PPU"},
            "productModuleNumber0 names the same module twice",
        ),
    ],
)
def test_errors_use_the_name_that_was_sent(request_validation, form, says):
    response = request_validation(**form)

    assert (response.status_code, info(response)[0]) == (400, "MalformedRequestException")
    assert info(response)[1].startswith(says)
    assert not License.objects.filter(used_quantity__gt=0).exists()


def test_a_parameter_for_several_modules_needs_a_module(request_validation, make_module):
    make_module("PayPerUse", number="M-PPU-2")

    response = request_validation(usedQuantity=1)

    assert (response.status_code, info(response)[0]) == (400, "MalformedRequestException")
    assert info(response)[1] == "usedQuantity applies to several modules; name one with productModuleNumber"
    assert valid(request_validation(productModuleNumber="M-PPU", usedQuantity=1)) == {"M-PPU"}


def test_an_unknown_module_without_an_index_is_not_found(request_validation):
    response = request_validation(productModuleNumber="M-NONE", **SESSION)

    assert (response.status_code, info(response)[0]) == (404, "NotFoundException")
    assert not FloatingSession.objects.exists()
