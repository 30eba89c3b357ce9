"""One id goes from a shop's request to logs, errors, e-mails and webhooks, and never to another request."""

import json
import logging
import re
import threading

import pytest
from django.core import mail
from django.http import HttpResponse
from django.test import RequestFactory

from orders.models import Order
from portal.logs import JsonFormatter, LineFormatter
from portal.observation import Observation
from webhooks.models import WebhookEndpoint, WebhookEvent, WebhookMessage
from webhooks.sending import build_headers
from work.request_ids import current_request_id

GIVEN = "shop-42.A_b"
CREATED = re.compile(r"[0-9a-f]{16}")


@pytest.fixture
def endpoint(merchant):
    return WebhookEndpoint.objects.create(
        merchant=merchant,
        url="https://shop.example/hook",
        events=[WebhookEvent.ORDER_PAID, WebhookEvent.PRODUCT_DELIVERED],
        secret=WebhookEndpoint.make_secret(),
    )


def header(response):
    return response.headers["X-Request-ID"]


def test_a_well_formed_id_is_accepted_and_returned(client, db):
    assert header(client.get("/healthz", headers={"X-Request-ID": GIVEN})) == GIVEN


@pytest.mark.parametrize(
    "hostile",
    [
        "",
        " ",
        "a" * 65,
        "x" * 10_000,
        "a\nb",
        "a\r\nSet-Cookie: a=b",
        "ada@example.com",
        "naïve",
        "-a",
        '"',
        "\0",
        "a b",
    ],
)
def test_any_other_id_is_replaced(client, db, hostile):
    assert CREATED.fullmatch(header(client.get("/healthz", headers={"X-Request-ID": hostile})))


def test_each_request_without_an_id_gets_its_own(client, db):
    assert header(client.get("/healthz")) != header(client.get("/healthz"))


@pytest.mark.parametrize("path", ["/api/v1/payments/", "/api/v1/nothing/"])
def test_the_body_of_an_error_of_the_api_has_it(api, path):
    response = api.post(path, {}, format="json", headers={"X-Request-ID": GIVEN})

    assert response.status_code in {400, 404}
    assert response.json()["request_id"] == GIVEN


def test_an_error_page_shows_it(client, db):
    page = client.get("/nothing/", headers={"X-Request-ID": GIVEN})

    assert page.status_code == 404
    assert f"Request {GIVEN}" in page.content.decode()


def test_the_page_of_an_unexpected_error_shows_it(client, db, monkeypatch):
    client.raise_request_exception = False
    monkeypatch.setattr("runtime.health._run", lambda *_: 1 / 0)

    page = client.get("/healthz", headers={"X-Request-ID": GIVEN})

    assert page.status_code == 500
    assert f"Request {GIVEN}" in page.content.decode()


def test_the_order_its_email_and_its_webhooks_carry_it(api, make_product, make_payment, endpoint, work):
    api.post("/api/v1/payments/", make_payment(make_product()), format="json", headers={"X-Request-ID": GIVEN})
    work()

    assert Order.objects.get().shop_request_id == GIVEN
    assert mail.outbox[0].extra_headers["X-Request-ID"] == GIVEN
    paid, delivered = WebhookMessage.objects.order_by("pk")
    assert [paid.event, delivered.event] == ["order.paid", "product.delivered"]
    assert [build_headers(message)["X-Request-ID"] for message in (paid, delivered)] == [GIVEN, GIVEN]


def test_an_email_of_an_order_from_before_has_no_empty_header(pay, product, work):
    pay(product)
    Order.objects.update(shop_request_id="")
    work()

    assert "X-Request-ID" not in mail.outbox[0].extra_headers


def test_what_the_worker_logs_about_an_order_carries_its_id(api, make_product, make_payment, work, caplog):
    seen = []

    class Watching(logging.Handler):
        def emit(self, record):
            seen.append((record.getMessage(), current_request_id()))

    logger, watching = logging.getLogger("work.attempts"), Watching()
    logger.addHandler(watching)
    try:
        for name in ("first", "second"):
            payment = make_payment(make_product(keys=1))
            api.post("/api/v1/payments/", payment, format="json", headers={"X-Request-ID": name})
        work()
    finally:
        logger.removeHandler(watching)

    assert [name for text, name in seen if text.startswith("delivery ")] == ["first", "second"]
    assert current_request_id() == ""


def test_requests_in_many_threads_keep_their_ids(in_threads):
    gate = threading.Barrier(4)

    def view(request):
        before = current_request_id()
        gate.wait()
        assert current_request_id() == before
        return HttpResponse(before)

    def ask(number):
        assert current_request_id() == ""
        request = RequestFactory().get("/", headers={"X-Request-ID": f"request-{number}"})
        response = Observation(view)(request)
        assert current_request_id() == ""
        return response.content.decode(), header(response)

    assert in_threads(ask, list(range(40)), 4) == [(f"request-{number}",) * 2 for number in range(40)]


def test_a_request_that_fails_leaves_no_id_behind():
    def view(request):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        Observation(view)(RequestFactory().get("/"))

    assert current_request_id() == ""


# The log of requests


def test_each_request_is_one_line(client, db, caplog):
    caplog.set_level(logging.INFO, "portal.observation")
    client.get("/accounts/login/?next=/secret", headers={"X-Request-ID": GIVEN})

    [record] = [record for record in caplog.records if record.name == "portal.observation"]
    assert re.fullmatch(r"GET /accounts/login/ 200 \d+\.\d ms", record.getMessage())
    assert record.fields["status"] == 200


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/o/a-secret-link/", "/o/…/"),
        ("/upload/a-secret/", "/upload/…/"),
        ("/uploaded/a-secret/", "/uploaded/…/"),
        ("/invitations/a-secret/", "/invitations/…/"),
        ("/accounts/password/reset/key/1-secret/", "/accounts/password/reset/key/…/"),
        ("/core/v2/rest/licensee/A-SECRET/validate", "/core/v2/rest/licensee/…"),
        ("/a%0Ab", "/a%0Ab"),
        ("/" + "x" * 1000, "/" + "x" * 299),
    ],
)
def test_the_log_of_requests_has_neither_secrets_nor_line_breaks(client, db, caplog, path, logged):
    caplog.set_level(logging.INFO, "portal.observation")
    client.get(path)

    [record] = [record for record in caplog.records if record.name == "portal.observation"]
    assert record.fields["path"] == logged
    assert "secret" not in record.getMessage().lower()


def test_requests_for_assets_and_by_monitoring_are_logged_only_if_they_fail(client, db, caplog):
    caplog.set_level(logging.INFO, "portal.observation")
    client.get("/healthz")
    client.get("/static/mark.svg")
    client.get("/static/nothing.svg")

    assert [record.fields["path"] for record in caplog.records if record.name == "portal.observation"] == [
        "/static/nothing.svg"
    ]


# The formats


def make_record(message="Paid", **fields):
    return logging.makeLogRecord({"name": "orders", "levelname": "INFO", "msg": message, "created": 0, **fields})


def test_json_logs_are_one_object_per_line_whatever_they_hold():
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError as error:
        failure = (type(error), error, error.__traceback__)
    record = make_record("a\nb “c”", exc_info=failure, fields={"status": 500})
    record.request = type("Request", (), {"request_id": GIVEN})

    line = JsonFormatter().format(record)

    assert "\n" not in line
    entry = json.loads(line)
    assert entry.pop("exception").endswith("ZeroDivisionError: division by zero")
    assert entry == {
        "time": "1970-01-01T00:00:00.000+00:00",
        "level": "INFO",
        "logger": "orders",
        "message": "a\nb “c”",
        "request_id": GIVEN,
        "status": 500,
    }


def test_plain_logs_carry_it_in_brackets():
    formatter = LineFormatter("{name}: {message}", style="{")
    record = make_record()
    assert formatter.format(record) == "orders: Paid"

    record.request = type("Request", (), {"request_id": GIVEN})
    assert formatter.format(record) == f"orders: Paid [{GIVEN}]"
