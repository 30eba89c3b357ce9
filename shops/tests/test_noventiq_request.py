"""Keywell asks Keywell: our web service calls are answered by our own shops."""

import json
from decimal import Decimal
from time import time
from urllib.parse import urlsplit

import pytest
from django.test import Client

from fulfillment.sources.web_service.client import build_request
from fulfillment.sources.web_service.models import WebService
from fulfillment.sources.web_service.parameters import Subject
from orders.models import ActivationCode, Order
from outbound.signatures import sign
from shops.models import Event
from shops.tests.dialects import SIGNING_SECRET, ask_noventiq, make_noventiq, read_lines

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(make_connection):
    return make_connection("noventiq_request", secret=SIGNING_SECRET)


@pytest.fixture
def photo(make_product):
    return make_product(sku="PHOTO-PRO")


@pytest.mark.parametrize("format", WebService.Format.values)
def test_it_answers_our_own_requests(shop, photo, pay, make_service, make_product, format):
    sold = make_product(sku="SOLD", source=None)
    names = ["Order", "Item", "Unit", "ID", "Quantity", "Order_sum", "Currency", "Email"]
    service = make_service(sold, parameters=names, format=format, url=shop.url, secret=SIGNING_SECRET)
    shop.external_products.create(external_id="SOLD").mappings.create(product=photo)
    pay(sold)
    item = sold.order_items.get()

    response = deliver(build_request(service, Subject(item, [1]), "req_1"))

    assert response.status_code == 200
    order = Order.objects.get(sale_references__connection=shop)
    assert read_lines(response) == [code.code for code in order.codes()]
    assert (order.email, order.currency, order.total()) == (item.order.email, item.order.currency, item.total_price)
    assert order.number == f"{item.order.number}:{item.pk}:1"


def deliver(request):
    url, headers = urlsplit(request.url), dict(request.headers)
    path = f"{url.path}?{url.query}" if url.query else url.path
    kind = headers.pop("Content-Type", "")
    return Client().generic(request.method, path, request.body, content_type=kind, headers=headers)


def test_a_query_gets_the_same_answer(shop, photo):
    first, again = (ask_noventiq(shop, method="GET") for _ in range(2))

    assert first.status_code == 200
    assert first.content == again.content


def test_a_unit_gets_the_same_license_in_every_request(shop, photo):
    first, again = (ask_noventiq(shop, message=f"req_{number}") for number in range(2))

    assert first.content == again.content
    assert ActivationCode.objects.count() == 1


def test_each_unit_has_a_license_even_without_its_number(shop, photo):
    for number in range(3):
        assert ask_noventiq(shop, message=f"req_{number}", Unit="").status_code == 200

    assert ActivationCode.objects.count() == 3


def test_the_sum_of_all_units_counts_once(shop, photo):
    for unit in ("1", "2"):
        ask_noventiq(shop, message=f"req_{unit}", Unit=unit)

    assert sum(order.total() for order in Order.objects.all()) == Decimal("59.98")


def test_json_is_read_as_well(shop, photo):
    body = json.dumps(make_noventiq()).encode()
    headers = sign([SIGNING_SECRET], "req_1", int(time()), body)

    response = Client().post(urlsplit(shop.url).path, body, "application/json", headers=headers)
    assert response.status_code == 200


def test_a_renewal_belongs_to_its_subscription(shop, photo):
    for order in ("1001", "1002"):
        ask_noventiq(shop, order=order, Subscription_ID="S-77", Subscription_period="P1Y")

    assert Order.objects.filter(items__subscription__reference="S-77").count() == 2


def test_an_old_request_is_rejected(shop, photo):
    assert ask_noventiq(shop, at=int(time()) - 301).status_code == 401


def test_the_header_of_tests_cannot_be_added_later(shop, photo):
    first, again = ask_noventiq(shop), ask_noventiq(shop, is_test=True)

    assert first.content == again.content
    assert not Event.objects.get().is_test


def test_a_signed_query_does_not_verify_a_body(shop, photo):
    content = b"Order=1001&ID=PHOTO-PRO"
    headers = sign([SIGNING_SECRET], "req_1", int(time()), b"", content)
    path = urlsplit(shop.url).path

    assert Client().post(path, b"Order=1002&ID=PHOTO-PRO", "text/plain", headers=headers).status_code == 401
    assert Client().get(f"{path}?Order=1002&ID=PHOTO-PRO", headers=headers).status_code == 401


@pytest.mark.parametrize("body", [b"Order=\xff", b'{"Order": '])
def test_what_cannot_be_read_is_refused(shop, body):
    headers = sign([SIGNING_SECRET], "req_1", int(time()), body)

    assert Client().post(urlsplit(shop.url).path, body, "text/plain", headers=headers).status_code == 400
    assert not Event.objects.exists()
