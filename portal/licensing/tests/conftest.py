import pytest
from django.urls import reverse

from licensing.creation import create_license, create_licensee
from licensing.models import (
    LicenseTemplate,
    LicensingProduct,
    ProductModule,
)
from merchants.models import Member

NUMBER = "KW-SECRET-NUMBER-7Q2M"


@pytest.fixture
def page(client, make_member):
    """A client signed in as a manager."""
    client.force_login(make_member(Member.Role.MANAGER).user)
    return client


@pytest.fixture
def owner(client, merchant):
    client.force_login(merchant.members.get(role="owner").user)
    return client


@pytest.fixture
def product(merchant):
    return LicensingProduct.objects.create(merchant=merchant, number="P1", name="Photo <Pro>")


@pytest.fixture
def template(product):
    module = ProductModule.objects.create(
        merchant=product.merchant, product=product, number="M1", name="Updates", licensing_model="Subscription"
    )
    return LicenseTemplate.objects.create(
        merchant=product.merchant,
        module=module,
        number="E1",
        name="One year",
        license_type="TIMEVOLUME",
        time_volume=1,
        time_volume_period="YEAR",
    )


@pytest.fixture
def make_licensee(product, template):
    def make(number, licenses=1, **fields):
        licensee = create_licensee(product, actor="test", number=number, **fields)
        for _ in range(licenses):
            create_license(licensee, template, actor="test")
        return licensee

    return make


@pytest.fixture
def licensee(make_licensee):
    return make_licensee(NUMBER, name="Ada’s", marked_for_transfer=True)


def page_text(page, name, *arguments, query=""):
    response = page.get(reverse(name, args=arguments) + query)
    assert response.status_code == 200
    return response.content.decode()


def post(page, name, /, *arguments, **data):
    return page.post(reverse(name, args=arguments), data)
