import re

import pytest
from django.urls import reverse

from fulfillment.models import Fulfillment
from merchants.models import Member
from orders.models import OrderItem
from outbound.models import OutgoingRequest

PUBLIC = "https://93.184.216.34/keys"
FORM = {
    "name": "Gen",
    "url": PUBLIC,
    "format": "form",
    "request_per": "unit",
    "timeout": "15",
    "login": "none",
    "answer": "body",
}


@pytest.fixture
def manager(client, make_member):
    """A client signed in as a manager."""
    client.force_login(make_member(Member.Role.MANAGER).user)
    return client


@pytest.fixture
def service(make_service):
    return make_service(url=PUBLIC)


@pytest.fixture
def sold(make_product):
    return make_product(source=None, name="Photo Pro")


def address(name, *arguments):
    return reverse(f"web-service-{name}" if name else "web-service", args=[argument.pk for argument in arguments])


def service_page(manager, service):
    return manager.get(address("", service)).content.decode()


def page_text(response):
    return re.sub(r"\s+", " ", response.content.decode())


def make_failed_orders(service, pay, product, count=1):
    """Pay for orders whose items failed because the service answered 404."""
    for _ in range(count):
        pay(product)
    Fulfillment.objects.update(status="failed", due_at=None, reason="The service answered 404.")
    for item in OrderItem.objects.all():
        log_request(service, item=item, outcome="fatal", status_code=404, error="The service answered 404.")


def log_request(service, **fields):
    fields = {"method": "POST", "url": service.url, "milliseconds": 7, "outcome": "ok"} | fields
    return OutgoingRequest.objects.create(merchant=service.merchant, upstream=service, **fields)


@pytest.fixture
def guarded(make_service):
    return make_service(url=PUBLIC, login="basic", username="ada", password="sésame")


def sent_parameters(service):
    return {parameter.name: parameter.parameter or parameter.constant for parameter in service.parameters.all()}
