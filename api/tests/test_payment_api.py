import json
import socket

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from kombu.exceptions import OperationalError

from delivery.models import Delivery
from delivery.models.deliveries import ALL
from merchants.models import Product
from orders.models import Order
from work.models import begin_task
from work.valkey import valkey

URL = "/api/v1/payments/"


def test_the_response_to_a_payment_contains_its_codes(api, make_payment, make_product):
    product = make_product(name="Photo Pro", sku="PHOTO-PRO")

    response = api.post(URL, make_payment(product, quantity=2, order="A0012345678"), format="json")

    assert response.status_code == 201
    order_data = response.json()
    assert (order_data["order"], order_data["status"]) == ("A0012345678", "paid")
    assert order_data["order_url"].startswith("http://127.0.0.1:8000/o/")
    (item,) = order_data["items"]
    assert (item["item"], item["product"], item["quantity"]) == ("1", "PHOTO-PRO", 2)
    assert (item["fulfillment"], item["reason"]) == ("done", "")
    assert [code["unit"] for code in item["activation_codes"]] == [1, 2]
    assert [code["delivery"] for code in item["activation_codes"]] == ["queued", "queued"]
    assert len({code["code"] for code in item["activation_codes"]}) == 2


def test_reporting_again_returns_the_same_codes(api, make_payment, product, work):
    payment = make_payment(product)
    first = api.post(URL, payment, format="json").json()
    work()

    response = api.post(URL, payment, format="json")

    assert response.status_code == 200
    first["items"][0]["activation_codes"][0]["delivery"] = "sent"
    assert response.json() == first


def test_reporting_again_with_another_price_is_a_409(api, make_payment, product):
    payment = make_payment(product)
    api.post(URL, payment, format="json")
    payment["items"][0]["total_price"] = "59.99"

    response = api.post(URL, payment, format="json")

    assert response.status_code == 409
    assert response["Content-Type"] == "application/problem+json"


def test_omitted_fields_have_defaults(api, make_payment, product):
    payment = make_payment(product)
    for name in ("checkout_page", "language"):
        del payment[name]
    payment["customer"] = {"email": "ada@example.com"}

    assert api.post(URL, payment, format="json").status_code == 201


def test_another_merchants_product_is_unknown(api, make_payment, make_product, outsider):
    other_product = make_product(merchant=outsider)

    response = api.post(URL, make_payment(other_product), format="json")

    assert response.status_code == 202
    assert response.json()["items"][0]["fulfillment"] == "not_ours"


def without(name):
    return lambda payment: payment.pop(name)


def order(**fields):
    return lambda payment: payment.update(fields)


def item(**fields):
    return lambda payment: payment["items"][0].update(fields)


def customer(**fields):
    return lambda payment: payment["customer"].update(fields)


def subscription(**fields):
    return item(subscription={"id": "S-77", "type": "AR", "period": "P1Y", "parent_order": None} | fields)


BAD = [
    (without("order"), "#/order"),
    (order(order=""), "#/order"),
    (order(order=17), "#/order"),
    (order(order="A" * 65), "#/order"),
    (order(order="A\u00001"), "#/order"),
    (order(order="A\n1"), "#/order"),
    (order(order=".."), "#/order"),
    (order(order="id:7"), "#/order"),
    (item(item="id:7"), "#/items/0/item"),
    (order(order="A\ud8001"), "#/order"),
    (without("paid_at"), "#/paid_at"),
    (order(paid_at="yesterday"), "#/paid_at"),
    (order(paid_at="2026-11-22T10:00:00"), "#/paid_at"),
    (order(paid_at="0001-01-01T00:00:00+14:00"), "#/paid_at"),
    (order(paid_at="9999-12-31T23:59:59-14:00"), "#/paid_at"),
    (without("currency"), "#/currency"),
    (order(currency="EURO"), "#/currency"),
    (order(currency="XYZ"), "#/currency"),
    (order(currency="eur"), "#/currency"),
    (order(currency=None), "#/currency"),
    (order(checkout_page="side"), "#/checkout_page"),
    (order(checkout_page={"code": "main"}), "#/checkout_page"),
    (without("customer"), "#/customer"),
    (order(customer="ada@example.com"), "#/customer"),
    (customer(email="ada"), "#/customer/email"),
    (customer(email="a@" + "ä" * 62 + ".com"), "#/customer/email"),
    (customer(email="ada@example.com\nBcc: eve@example.com"), "#/customer/email"),
    (without("items"), "#/items"),
    (order(items=[]), "#/items"),
    (order(items={}), "#/items"),
    (order(items=["PHOTO-PRO"]), "#/items/0"),
    (item(quantity=10_001), "#/items/0/quantity"),
    (item(quantity="two"), "#/items/0/quantity"),
    (item(quantity=1.5), "#/items/0/quantity"),
    (item(quantity=True), "#/items/0/quantity"),
    (item(total_price=59.98), "#/items/0/total_price"),
    (item(total_price="59.9"), "#/items/0/total_price"),
    (item(total_price="59,98"), "#/items/0/total_price"),
    (item(total_price="٥٩.٩٨"), "#/items/0/total_price"),
    (item(total_price="1" * 11 + ".00"), "#/items/0/total_price"),
    (item(total_price="5000"), "#/items/0/total_price"),
    (item(total_price="59.980"), "#/items/0/total_price"),
    (lambda payment: payment["items"][0].pop("total_price"), "#/items/0/total_price"),
    (subscription(period="1 year"), "#/items/0/subscription/period"),
    (subscription(period="P0Y"), "#/items/0/subscription/period"),
    (subscription(period="P1Y2M"), "#/items/0/subscription/period"),
    (subscription(type="XX"), "#/items/0/subscription/type"),
    (subscription(type="\ud800"), "#/items/0/subscription/type"),
    (subscription(id=""), "#/items/0/subscription/id"),
    (order(additional_parameters=["referer1"]), "#/additional_parameters"),
]


@pytest.mark.parametrize(
    ("spoil", "pointer"), BAD, ids=[f"{pointer}-{index}" for index, (_, pointer) in enumerate(BAD)]
)
def test_invalid_input_is_a_400_that_names_the_field_and_stores_nothing(api, make_payment, product, spoil, pointer):
    payment = make_payment(product)
    spoil(payment)

    response = api.post(URL, json.dumps(payment), content_type="application/json")

    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    assert {error["pointer"] for error in response.json()["errors"]} == {pointer}
    assert not Order.objects.exists()


def test_an_order_can_have_at_most_10000_units(api, make_payment, make_product):
    response = api.post(URL, make_payment(make_product(), make_product(), quantity=6000), format="json")

    assert response.status_code == 400
    assert response.json()["errors"] == [
        {"pointer": "#/items/1/quantity", "detail": "An order can have at most 10000 units."}
    ]


def test_one_response_names_all_errors(api, make_payment, product):
    payment = make_payment(product, "NO-SUCH", currency="XYZ")
    payment["items"][1]["item"] = "1"

    response = api.post(URL, payment, format="json")

    assert {error["pointer"] for error in response.json()["errors"]} == {
        "#/currency",
        "#/items/1/item",
    }


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"not json", 400),
        (b'{"order": ', 400),
        (b"[]", 400),
        (b"null", 400),
        (b'"text"', 400),
        (b'{"order": NaN}', 400),
        (b"\xff\xfe\x00", 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 400),
        (b'{"items": [{"quantity": ' + b"9" * 5000 + b"}]}", 400),
        (b'{"order": "' + b"A" * 10_000_000 + b'"}', 413),
    ],
    ids=range(12),
)
def test_it_rejects_a_body_that_is_not_a_payment(api, product, body, status):
    response = api.post(URL, body, content_type="application/json")

    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"
    assert not Order.objects.exists()


def test_another_content_type_is_a_415(api):
    assert api.post(URL, "order=1", content_type="application/x-www-form-urlencoded").status_code == 415


def test_another_method_is_a_405(api):
    assert api.get(URL).status_code == 405


def test_the_final_slash_may_be_missing(api, product, make_payment):
    response = api.post(URL.removesuffix("/"), make_payment(product), content_type="application/json")

    assert response.status_code == 201
    assert api.get(f"/api/v1/orders/{response.json()['order']}").status_code == 200


def test_without_the_final_slash_a_key_is_needed_too(client, db):
    assert client.post(URL.removesuffix("/"), {}, content_type="application/json").status_code == 401


@pytest.mark.parametrize("path", ["payment", "orders/nope/refunds", ""])
def test_an_unknown_path_without_a_slash_is_a_404(api, path):
    assert api.get(f"/api/v1/{path}").status_code == 404


def test_an_unknown_path_is_a_problem_response_too(api):
    response = api.get("/api/v1/payment/")

    assert (response.status_code, response["Content-Type"]) == (404, "application/problem+json")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_listening", [True, False], ids=["hangs", "is down"])
def test_it_accepts_a_payment_while_the_broker(
    api, make_payment, product, caplog, monkeypatch, settings, tmp_path, is_listening
):
    with socket.socket(socket.AF_UNIX) as broker:
        broker.bind(str(tmp_path / "b"))
        if is_listening:
            broker.listen(50)
        settings.VALKEY = settings.VALKEY | {"url": f"unix://{tmp_path}/b", "socket_timeout": 0.5}
        valkey.cache_clear()
        response = api.post(URL, make_payment(product), format="json")
    valkey.cache_clear()

    assert response.status_code == 201
    assert "Can't count API requests" in caplog.text
    assert "leaving it to the sweep" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_it_accepts_a_payment_while_publishing_fails(api, make_payment, product, celery_broker_down, caplog):
    response = api.post(URL, make_payment(product), format="json")

    assert response.status_code == 201
    assert "leaving it to the sweep" in caplog.text


@pytest.fixture
def celery_broker_down(monkeypatch):
    def refuse(*args, **kwargs):
        raise OperationalError("gone")

    monkeypatch.setattr("work.models.current_app.send_task", refuse)
    begin_task(Delivery.TASK, ALL)  # which an earlier test may have queued


def test_the_number_of_queries_does_not_grow_with_units(api, make_payment, make_product):
    product = make_product(keys=60)
    api.post(URL, make_payment(product), format="json")

    with CaptureQueriesContext(connection) as queries_for_one:
        api.post(URL, make_payment(product), format="json")
    with CaptureQueriesContext(connection) as queries_for_many:
        api.post(URL, make_payment(product, quantity=50), format="json")

    assert len(queries_for_many) == len(queries_for_one)


def test_the_catalog_of_products_is_read_once(api, make_payment, make_product):
    assert Product.objects.count() == 0
    products = [make_product() for _ in range(3)]

    response = api.post(URL, make_payment(*products), format="json")

    assert [item["product"] for item in response.json()["items"]] == [product.sku for product in products]
