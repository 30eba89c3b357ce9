"""The reference of the API is complete, small and accessible, and a request can be tried on it."""

import pytest
from django.urls import reverse
from selenium.webdriver.common.by import By

from api.docs import read_schema
from merchants.models import ApiKey
from orders.models import Order
from portal.api_docs.reading import TAGS, read_operations
from portal.tests.browsing import check, check_width, look_in, sees
from portal.tests.test_every_page import MAX_BYTES

OPERATIONS = list(read_operations())


def test_every_operation_has_a_page_and_a_tag():
    paths = read_schema()["paths"]

    assert len(OPERATIONS) == sum(len(methods) for methods in paths.values())
    assert {operation.tag for operation in read_operations().values()} == TAGS.keys()


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_page_has_everything_that_the_schema_says(client, db, name):
    operation = read_operations()[name]
    page = client.get(operation.url).content.decode()

    for value in [*operation.parameters, *operation.fields, *operation.answer]:
        assert f"<code>{value.path}</code>" in page
    assert all(f"<dt>{reply.status}</dt>" in page for reply in operation.replies)
    assert all(f"<summary>{language}</summary>" in page for language in ("curl", "Python", "PHP", "JavaScript"))
    assert len(page.encode()) <= MAX_BYTES


def test_the_fields_of_a_payment_are_listed_with_their_paths():
    payment = read_operations()["payments-create"]
    fields = {value.path: value for value in payment.fields}

    assert fields["items[].total_price"].is_required and not fields["customer.first_name"].is_required
    assert payment.body["items"] == [{"item": "1", "product": "PHOTO-PRO", "quantity": 2, "total_price": "59.98"}]


def test_an_unknown_operation_is_a_404(client, db):
    assert client.get(reverse("api-docs-operation", args=["nothing"])).status_code == 404


@pytest.mark.django_db(transaction=True)
def test_a_payment_is_tried_with_a_test_key(browser, live_server, settings, merchant, make_product, sandbox):
    make_product(sku="PHOTO-PRO")
    _, key = ApiKey.objects.create_key(merchant=sandbox, name="shop", scopes=["payments"])
    browser.get(f"{live_server}{read_operations()['payments-create'].url}")
    look_in(browser, "light")
    check(browser)
    browser.find_element(By.NAME, "key").send_keys(key)
    browser.find_element(By.CSS_SELECTOR, "[data-try] [type=submit]").click()

    assert sees(browser, "201 Created", '"order": "A0012345679"')
    order = Order.objects.get()
    assert order.merchant == sandbox and order.number == "A0012345679"
    check(browser)


@pytest.mark.django_db(transaction=True)
def test_every_page_fits_and_is_accessible(chrome, live_server):
    for name in OPERATIONS:
        chrome.get(f"{live_server}{read_operations()[name].url}")
        chrome.set_window_size(1280, 900)
        check(chrome)
        chrome.set_window_size(320, 900)
        check_width(chrome)
        chrome.set_window_size(390, 900)
        check(chrome)
