"""The official clients, unmodified, against the running service."""

import subprocess
from pathlib import Path

import pytest
from netlicensing import NetLicensingClient
from netlicensing.exceptions import NetLicensingAuthError, NetLicensingHTTPError

from licensing.models import License, LicensingProduct, VendorLogin
from runtime.tests.programs import need

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def url(live_server):
    return f"{live_server}/core/v2/rest"


@pytest.fixture
def login(merchant):
    login, password = VendorLogin.objects.create_login(merchant, "erp")
    return login.user_name, password


def test_the_node_client_works(url, login):
    command = [need("node", package="nodejs"), Path(__file__).with_name("client.js"), url, *login]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert run.returncode == 0, run.stderr
    assert not LicensingProduct.objects.exists()


@pytest.fixture
def client_for(url):
    """Create clients of the library, with a user name and password or with an API key."""
    clients = []

    def make(**credentials):
        clients.append(NetLicensingClient(base_url=url, **credentials))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def vendor(client_for, login):
    return client_for(username=login[0], password=login[1])


def test_the_python_client_works(vendor, client_for):
    # Create and change
    product = vendor.products.create(number="P1", name="Photo", color="blue")
    assert (product.number, product.active, product.in_use, product.color) == ("P1", True, False, "blue")
    assert vendor.products.update("P1", name="Photo 2").name == "Photo 2"
    for number, model in (("M-SUB", "Subscription"), ("M-PPU", "PayPerUse"), ("M-MF", "MultiFeature")):
        vendor.product_modules.create(product_number="P1", number=number, name=model, licensing_model=model)
    for number, module, fields in (
        ("E-SUB", "M-SUB", {"license_type": "TIMEVOLUME", "timeVolume": 30, "timeVolumePeriod": "DAY"}),
        ("E-PPU", "M-PPU", {"license_type": "QUANTITY", "quantity": 10}),
        ("E-MF", "M-MF", {"license_type": "FEATURE", "price": "5.00", "currency": "EUR"}),
    ):
        vendor.license_templates.create(product_module_number=module, number=number, name=number, **fields)
    vendor.licensees.create(product_number="P1", number="I-MINE", name="Ada")
    vendor.licensees.create(product_number="P1", number="I-BOUGHT")
    vendor.transactions.create(number="T1", status="PENDING", source="SHOP")
    for number in ("E-SUB", "E-PPU", "E-MF"):
        vendor.licenses.create(
            licensee_number="I-BOUGHT",
            license_template_number=number,
            transaction_number="T1",
            number=f"L-{number}",
            startDate="now",
        )
    assert vendor.licensees.update("I-BOUGHT", marked_for_transfer=True).marked_for_transfer is True

    # List
    numbers = ["L-E-SUB", "L-E-PPU", "L-E-MF"]
    licenses = vendor.licenses.list(filter={"licenseeNumber": "I-BOUGHT"})
    assert [license.number for license in licenses] == numbers
    assert (licenses.total_items, licenses.has_next) == (3, False)
    page = vendor.license_templates.list(filter={"productNumber": "P1", "page": 1, "items": 2})
    assert [template.number for template in page] == ["E-MF"]
    assert str(page.items[0].price) == "5.00"
    closed = vendor.transactions.update("T1", status="CLOSED")
    assert [join["licenseNumber"] for join in closed.license_transaction_joins] == numbers
    assert closed.date_closed >= closed.date_created
    assert "FEATURE" in vendor.utility.list_license_types()
    assert "Floating" in vendor.utility.list_licensing_models()
    assert {country.code: country.is_eu for country in vendor.utility.list_countries()}["DE"] is True
    assert list(vendor.licensees.list(productNumber="NONE")) == []

    # The customer's software has its own key
    token = vendor.tokens.create_api_key_token(licensee_number="I-MINE")
    customer = client_for(api_key=token.number)
    assert not customer.validate("I-MINE").by_product_module("M-SUB").is_valid()
    customer.licensees.transfer("I-MINE", "I-BOUGHT")
    assert customer.validate("I-MINE").is_valid()
    used = customer.licensees.validate("I-MINE", product_module_parameters={"M-PPU": {"usedQuantity": 4}})
    assert used.by_product_module("M-PPU").remainingQuantity == "6"
    assert [license.number for license in vendor.licenses.list(licenseeNumber="I-MINE")] == numbers
    assert list(vendor.licenses.list(licenseeNumber="I-BOUGHT")) == []
    with pytest.raises(NetLicensingAuthError, match="role"):
        customer.licensees.get("I-MINE")
    with pytest.raises(NetLicensingAuthError, match="another licensee"):
        customer.validate("I-BOUGHT")

    # Delete
    vendor.tokens.delete(token.number)
    with pytest.raises(NetLicensingAuthError):
        customer.validate("I-MINE")
    with pytest.raises(NetLicensingHTTPError, match="in use"):
        vendor.products.delete("P1")
    vendor.licenses.delete("L-E-MF")
    vendor.products.delete("P1", force_cascade=True)
    with pytest.raises(NetLicensingHTTPError, match="Requested licensee does not exist"):
        vendor.licensees.get("I-MINE")
    assert not License.objects.exists()


def test_an_entity_can_be_written_back_unchanged(vendor):
    """Clients send back every field they received, including read-only ones."""
    vendor.products.create(number="P1", name="Photo")
    vendor.product_modules.create(product_number="P1", number="M1", name="Features", licensing_model="MultiFeature")
    vendor.license_templates.create(
        product_module_number="M1", number="E1", name="F", license_type="FEATURE", price="5.00", currency="EUR"
    )
    vendor.licensees.create(product_number="P1", number="I1", name="Ada")
    vendor.licenses.create(licensee_number="I1", license_template_number="E1", number="L1", startDate="2026-01-01")

    for service, number in (
        (vendor.products, "P1"),
        (vendor.product_modules, "M1"),
        (vendor.license_templates, "E1"),
        (vendor.licensees, "I1"),
        (vendor.licenses, "L1"),
    ):
        read = service.get(number)
        assert service.update(number, read) == read
