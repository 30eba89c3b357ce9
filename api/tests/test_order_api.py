import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from orders.models import Order, Refund


def test_it_reads_an_order(api, pay, product):
    reported = pay(product, order="A1")

    assert api.get("/api/v1/orders/A1/").json() == reported


def test_it_lists_the_last_paid_orders_first(api, pay, product):
    for number in (2, 3, 1):
        pay(product, order=f"A{number}", paid_at=f"2026-11-22T1{number}:00:00Z")

    page = api.get("/api/v1/orders/?page_size=2").json()
    rest = api.get(page["next"]).json()

    assert [order["order"] for order in page["results"] + rest["results"]] == ["A3", "A2", "A1"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("number=12345678", ["A0012345678"]),
        ("email=ADA@example.com", ["A0012345678"]),
        ("email=Ada+Byron+%3Cada@example.com%3E", ["A0012345678"]),
        ("email=%C2%A0ada@example.com%E2%80%8B", ["A0012345678"]),
        ("number=%22A0012345678%22", ["A0012345678"]),
        ("number=%23A0012345678.", ["A0012345678"]),
        ("number=B2,12345678", ["B2", "A0012345678"]),
        ("customer=Byron,+ada", ["A0012345678"]),
        ("customer=nobody", []),
        ("number=%23", []),
        ("status=deleted", ["B2"]),
        ("status=unpaid", []),
    ],
)
def test_it_filters_orders(api, pay, product, query, expected):
    pay(product, order="A0012345678")
    pay(product, order="B2", customer={"email": "bo@example.com"})
    Order.objects.filter(number="B2").update(status="deleted")

    assert [order["order"] for order in api.get(f"/api/v1/orders/?{query}").json()["results"]] == expected


@pytest.mark.parametrize("query", ["status=lost", "email=ada", "number=%00", "customer=ab"])
def test_the_error_names_an_invalid_filter(api, query):
    response = api.get(f"/api/v1/orders/?{query}")

    assert response.status_code == 400
    assert response.json()["errors"][0]["pointer"] == f"#/{query.partition('=')[0]}"


@pytest.mark.parametrize("cursor", ["cD1hYmM=", "cD0A", "x"])
def test_an_invalid_cursor_is_a_404(api, cursor):
    assert api.get(f"/api/v1/orders/?cursor={cursor}").status_code == 404


def test_a_list_takes_as_many_queries_for_ten_orders_as_for_one(api, pay, product):
    pay(product)
    with CaptureQueriesContext(connection) as queries_for_one:
        api.get("/api/v1/orders/")
    for _ in range(9):
        pay(product)

    with CaptureQueriesContext(connection) as queries_for_ten:
        assert len(api.get("/api/v1/orders/").json()["results"]) == 10
    assert len(queries_for_ten) == len(queries_for_one)


def test_a_full_refund_deletes_the_order(api, pay, product):
    pay(product, order="A1")

    response = api.post("/api/v1/orders/A1/refund/", {"reference": "R-1"}, format="json")

    assert (response.status_code, response.json()["status"]) == (200, "deleted")
    assert Refund.objects.get().refunded_by == "API key shop-1"


def test_a_refund_without_a_body_is_a_full_refund(api, pay, product):
    pay(product, order="A1")

    assert api.post("/api/v1/orders/A1/refund/").json()["status"] == "deleted"


def test_after_a_partial_refund_the_order_stays_paid(api, pay, product):
    pay(product, order="A1")

    response = api.post("/api/v1/orders/A1/refund/", {"amount": "9.98"}, format="json")

    assert (response.status_code, response.json()["status"]) == (200, "paid")


@pytest.mark.parametrize("amount", ["0.00", "-1.00", "1", 5])
def test_the_error_names_an_invalid_amount(api, pay, product, amount):
    pay(product, order="A1")

    response = api.post("/api/v1/orders/A1/refund/", {"amount": amount}, format="json")

    assert response.status_code == 400
    assert response.json()["errors"][0]["pointer"] == "#/amount"


def test_refunding_too_much_is_a_409(api, pay, product):
    pay(product, order="A1")

    response = api.post("/api/v1/orders/A1/refund/", {"amount": "60.00"}, format="json")

    assert response.status_code == 409


@pytest.mark.parametrize(("method", "path"), [("get", ""), ("post", "refund/")])
def test_an_outsiders_order_is_a_404(pay, product, make_api, outsider, method, path):
    pay(product, order="A1")

    response = getattr(make_api(outsider), method)(f"/api/v1/orders/A1/{path}")

    assert response.status_code == 404
    assert Order.objects.get().status == "paid"


@pytest.mark.parametrize("number", ["A2", "%00", "A%0A1", "%ff", "x" * 200])
def test_an_unknown_number_is_a_404(api, pay, product, number):
    pay(product, order="A1")

    assert api.get(f"/api/v1/orders/{number}/").status_code == 404
