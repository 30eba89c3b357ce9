"""The kind of API key decides whether a payment is a test."""

import pytest

from orders.models import Order, RefusedReport

pytestmark = pytest.mark.django_db


@pytest.fixture
def test_key(make_api, sandbox):
    return make_api(sandbox)


def report(api, payment):
    return api.post("/api/v1/payments/", payment, format="json")


@pytest.mark.parametrize("fields", [{}, {"test": True}, {"test": None}])
def test_a_payment_with_a_test_key_is_a_test_order(test_key, sandbox, product, make_payment, fields):
    response = report(test_key, make_payment(product, **fields))

    assert (response.status_code, response.data["test"]) == (201, True)
    assert Order.objects.get().merchant == sandbox


@pytest.mark.parametrize("fields", [{}, {"test": False}, {"test": None}])
def test_a_payment_with_a_live_key_is_a_real_order(api, merchant, product, make_payment, fields):
    response = report(api, make_payment(product, **fields))

    assert (response.status_code, response.data["test"]) == (201, False)
    assert Order.objects.get().merchant == merchant


def test_a_test_with_a_live_key_is_refused_with_a_hint(api, merchant, product, make_payment):
    response = report(api, make_payment(product, test=True))

    assert response.status_code == 400
    [error] = response.json()["errors"]
    assert error["pointer"] == "#/test"
    assert "kw_test_" in error["detail"]
    assert not Order.objects.exists()
    assert RefusedReport.objects.get().merchant == merchant


def test_a_real_payment_with_a_test_key_is_refused_with_a_hint(test_key, sandbox, product, make_payment):
    response = report(test_key, make_payment(product, test=False))

    assert response.status_code == 400
    [error] = response.json()["errors"]
    assert (error["pointer"], "live key" in error["detail"]) == ("#/test", True)
    assert RefusedReport.objects.get().merchant == sandbox


def test_repeating_a_payment_with_or_without_the_field_is_the_same_payment(test_key, product, make_payment):
    payment = make_payment(product)

    assert report(test_key, payment | {"test": True}).status_code == 201
    assert report(test_key, payment).status_code == 200


def test_a_number_can_be_that_of_a_real_order_and_of_a_test_order(api, test_key, product, make_payment):
    payment = make_payment(product)

    assert report(api, payment).status_code == report(test_key, payment).status_code == 201

    live, test = (client.get(f"/api/v1/orders/{payment['order']}/").data for client in (api, test_key))
    assert (live["test"], test["test"]) == (False, True)
    assert live["id"] != test["id"]


def test_a_key_sees_orders_and_pools_of_its_kind_only(api, test_key, product, make_payment):
    report(test_key, make_payment(product, order="T-1"))

    assert api.get("/api/v1/orders/").data["results"] == []
    assert api.get("/api/v1/orders/T-1/").status_code == 404
    assert [order["order"] for order in test_key.get("/api/v1/orders/").data["results"]] == ["T-1"]

    [live_pool], [test_pool] = api.get("/api/v1/pools/").data, test_key.get("/api/v1/pools/").data
    assert live_pool["name"] == test_pool["name"]
    assert test_key.get(f"/api/v1/pools/{live_pool['id']}/").status_code == 404
    assert api.get(f"/api/v1/pools/{test_pool['id']}/").status_code == 404


def test_a_test_order_can_be_refunded_and_resent(test_key, product, make_payment):
    order = report(test_key, make_payment(product)).data

    resent = test_key.post(f"/api/v1/orders/{order['order']}/items/1/resend/")
    refunded = test_key.post(f"/api/v1/orders/{order['order']}/refund/", {}, format="json")

    assert (resent.status_code, refunded.data["status"]) == (202, "deleted")


def test_a_test_order_is_mapped_once_its_product_exists(test_key, make_product, make_payment):
    payment = make_payment("NEW-1")
    assert report(test_key, payment).status_code == 202
    make_product(sku="NEW-1")

    assert report(test_key, payment).data["items"][0]["fulfillment"] == "done"
