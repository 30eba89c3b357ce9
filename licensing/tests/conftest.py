from base64 import b64encode
from urllib.parse import urlencode

import pytest
from defusedxml.ElementTree import fromstring
from django.test import Client

from licensing.creation import create_license, create_licensee
from licensing.models import LicenseTemplate, LicensingProduct, ProductModule, Role, Token, VendorLogin

PERIOD = {"timeVolume": 1, "timeVolumePeriod": "MONTH"}
BASE = "/core/v2/rest/"
FORM = "application/x-www-form-urlencoded"
NAMESPACE = "{http://netlicensing.labs64.com/schema/context}"


class Api:
    """A JSON client of the licensing service for one caller."""

    def __init__(self, user_name, password):
        credentials = b64encode(f"{user_name}:{password}".encode()).decode()
        self.headers = {"Authorization": f"Basic {credentials}", "Accept": "application/json"}
        self.client = Client(raise_request_exception=False)

    def get(self, path, **query):
        return self.client.get(BASE + path, query, headers=self.headers)

    def post(self, path, **form):
        return self.client.post(BASE + path, urlencode(form, doseq=True), content_type=FORM, headers=self.headers)

    def delete(self, path, **query):
        return self.client.delete(BASE + path, query_params=query, headers=self.headers)


def sign_in(merchant, name="erp"):
    """A client that signs in with a new vendor login."""
    login, password = VendorLogin.objects.create_login(merchant, name)
    return Api(login.user_name, password)


def items(response):
    """The items of a response, each as a dictionary of its type, properties and lists."""
    found = []
    for item in response.json()["items"]["item"]:
        properties = {each["name"]: each["value"] for each in item["property"]}
        lists: dict[str, list[dict[str, str]]] = {}
        for each in item["list"]:
            lists.setdefault(each["name"], []).append({inner["name"]: inner["value"] for inner in each["property"]})
        found.append({"type": item["type"], **properties, **lists})
    return found


def item(response):
    (only,) = items(response)
    return only


def info(response):
    """The ID and text of the response's only info."""
    (only,) = response.json()["infos"]["info"]
    return only["id"], only["value"]


def xml(response):
    """The root element of an XML response."""
    return fromstring(response.content)


def make_one_of_each(merchant):
    """Create one object of each type through the API."""
    api = sign_in(merchant, "rows")
    api.post("product", number="P1", name="Photo")
    api.post("productmodule", productNumber="P1", number="M1", name="Updates", licensingModel="Subscription")
    api.post(
        "licensetemplate", productModuleNumber="M1", number="E1", name="Month", licenseType="TIMEVOLUME", **PERIOD
    )
    api.post("licensee", productNumber="P1", number="I1", name="Ada")
    api.post("license", licenseeNumber="I1", licenseTemplateNumber="E1", number="L1", startDate="2026-11-01")


@pytest.fixture
def make_api(merchant):
    return lambda merchant=merchant, name="erp": sign_in(merchant, name)


@pytest.fixture
def api(make_api):
    return make_api()


@pytest.fixture
def seeded_api(api):
    return api


@pytest.fixture
def with_key(merchant):
    """A client that signs in with a new API key."""

    def make(role=Role.LICENSEE, *, merchant=merchant, licensee=None):
        key = Token.objects.create(
            merchant=merchant, token_type=Token.Type.APIKEY, api_key_role=role, licensee=licensee
        )
        return Api("apiKey", key.number)

    return make


@pytest.fixture
def product(merchant):
    return LicensingProduct.objects.create(merchant=merchant, number="P1", name="Photo")


@pytest.fixture
def make_module(product):
    def make(licensing_model="Subscription", *, product=product, **fields):
        fields = {"name": licensing_model} | fields
        return ProductModule.objects.create(
            merchant=product.merchant, product=product, licensing_model=licensing_model, **fields
        )

    return make


@pytest.fixture
def make_template(make_module):
    def make(license_type="TIMEVOLUME", *, module=None, **fields):
        module = module or make_module()
        volume = {"time_volume": 1, "time_volume_period": "MONTH"} if license_type == "TIMEVOLUME" else {}
        return LicenseTemplate.objects.create(
            merchant=module.merchant,
            module=module,
            license_type=license_type,
            **({"name": f"{license_type} of {module.name}"} | volume | fields),
        )

    return make


@pytest.fixture
def make_licensee(product):
    def make(number="", *, product=product, **fields):
        return create_licensee(product, actor="test", number=number, **fields)

    return make


@pytest.fixture
def make_license():
    def make(licensee, template, **fields):
        return create_license(licensee, template, actor="test", **fields)

    return make


@pytest.fixture
def validate(with_key):
    """Validate as the customer's software does, and return the result for the only module."""

    def validate(licensee, **parameters):
        response = with_key().post(f"licensee/{licensee.number}/validate", **parameters)
        assert response.status_code == 200, response.content
        return item(response)

    return validate
