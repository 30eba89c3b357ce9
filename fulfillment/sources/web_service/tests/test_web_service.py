"""Codes from the merchant's own web service."""

from collections import Counter
from contextlib import suppress
from datetime import timedelta
from json import JSONDecodeError
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from django.utils import timezone
from standardwebhooks import Webhook

from fulfillment.actions import retry
from fulfillment.models import Fulfillment
from fulfillment.sources.web_service.models import WebService
from fulfillment.upstream_notices import notify_long_outages
from notices.models import MerchantNotice
from orders.models import ActivationCode, Order, OrderItem
from outbound import breaker
from outbound.models import OutgoingRequest


@pytest.fixture
def sold(make_product):
    return make_product(source=None, sku="PHOTO-PRO")


def respond_with(*codes, status=200):
    """Answer each request with the next code, and repeat the last one."""
    remaining = list(codes)
    return lambda received: (status, {}, (remaining.pop(0) if len(remaining) > 1 else remaining[0]).encode())


def verify(service, content, headers):
    """Raise WebhookVerificationError if the signature doesn't match the content."""
    with suppress(JSONDecodeError):  # after verification, the library parses the content as JSON
        Webhook(service.secret).verify(content, headers)


def codes_of(number):
    return [code.code for code in ActivationCode.objects.filter(item__order__number=number)]


def test_it_requests_a_code_and_emails_it(pay, work, sold, make_service, receiver, mailoutbox):
    make_service(sold)
    receiver.respond = respond_with("AAAA-BBBB-7Q2M")

    order = pay(sold)["order"]
    work()

    item = OrderItem.objects.get()
    [request] = receiver.received
    assert dict(parse_qsl(request.body.decode())) == {
        "Order": order,
        "Item": str(item.pk),
        "ID": "PHOTO-PRO",
        "Quantity": "1",
    }
    assert codes_of(order) == ["AAAA-BBBB-7Q2M"]
    assert Fulfillment.objects.get().status == "done"
    assert "AAAA-BBBB-7Q2M" in mailoutbox[0].body
    outgoing_request = OutgoingRequest.objects.get()
    assert (outgoing_request.outcome, outgoing_request.status_code, outgoing_request.attempt) == ("ok", 200, 1)
    assert outgoing_request.answer == "••••7Q2M"


def test_each_unit_has_its_own_request_and_idempotency_key(pay, work, sold, make_service, receiver):
    make_service(sold)
    receiver.respond = respond_with("CODE-0001", "CODE-0002", "CODE-0003")

    order = pay(sold, quantity=3)["order"]
    work()

    assert codes_of(order) == ["CODE-0001", "CODE-0002", "CODE-0003"]
    assert len({request.headers["idempotency-key"] for request in receiver.received}) == 3
    assert {parse_qs(request.body.decode())["Quantity"][0] for request in receiver.received} == {"1"}


def test_an_item_can_have_one_request_for_all_units(pay, work, sold, make_service, receiver):
    make_service(sold, request_per="item", answer="json", path="$.keys[*]", holds_list=True)
    receiver.respond = respond_with('{"keys": ["CODE-0001", "CODE-0002", "CODE-0003"]}')

    order = pay(sold, quantity=3)["order"]
    work()

    assert codes_of(order) == ["CODE-0001", "CODE-0002", "CODE-0003"]
    [request] = receiver.received
    assert parse_qs(request.body.decode())["Quantity"] == ["3"]


def test_it_saves_too_few_codes_and_requests_the_rest_again(pay, work, sold, make_service, receiver, mailoutbox):
    make_service(sold, request_per="item", holds_list=True)
    receiver.respond = respond_with("CODE-0001\nCODE-0002\n", "CODE-0001\nCODE-0002\nCODE-0003\n")

    order = pay(sold, quantity=3)["order"]
    work()
    assert codes_of(order) == ["CODE-0001", "CODE-0002"]
    assert OutgoingRequest.objects.get().error == "The answer has 2 of 3 codes."
    retry(OrderItem.objects.get(), actor="Sam")
    work()

    assert codes_of(order) == ["CODE-0001", "CODE-0002", "CODE-0003"]
    first, second = receiver.received
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert [mail.body.count("CODE-000") for mail in mailoutbox] == [2, 1]


def test_a_get_request_has_its_parameters_in_the_url(pay, work, sold, make_service, receiver):
    service = make_service(sold, format="get", url=receiver.url + "?shop=7")
    receiver.respond = respond_with("CODE-0001")

    order = pay(sold)["order"]
    work()

    [request] = receiver.received
    query = urlsplit(request.path).query
    assert parse_qs(query)["shop"] == ["7"]
    assert parse_qs(query)["Order"] == [order]
    # Signed both ways: over the empty body, for receivers that only know bodies, and over the query.
    verify(service, request.body, request.headers)
    verify(service, query.encode(), request.headers)


def test_the_same_code_for_two_units_is_issued_once(pay, work, sold, make_service, receiver):
    make_service(sold)
    receiver.respond = respond_with("CODE-0001")

    order = pay(sold, quantity=2)["order"]
    work()

    assert codes_of(order) == ["CODE-0001"]
    assert Fulfillment.objects.get().status == "failed"
    assert "already has it" in Fulfillment.objects.get().reason
    assert Counter(OutgoingRequest.objects.values_list("outcome", flat=True)) == {"ok": 1, "fatal": 1}


def test_a_service_that_sends_codes_itself_completes_the_item(pay, work, sold, make_service, receiver, mailoutbox):
    make_service(sold, sends_itself=True)
    receiver.respond = respond_with("thanks")

    pay(sold, quantity=2)
    work()

    fulfillment = Fulfillment.objects.get()
    assert (fulfillment.status, fulfillment.sent_by_vendor) == ("done", True)
    assert not ActivationCode.objects.exists()
    assert not mailoutbox
    assert len(receiver.received) == 1


def test_an_order_that_is_no_longer_paid_sends_no_request(pay, work, sold, make_service, receiver):
    make_service(sold)
    pay(sold)
    Order.objects.update(status="deleted")

    work()

    assert receiver.received == []
    assert Fulfillment.objects.get().reason == "The order is deleted."


def test_fatal_answers_fail_the_items_and_cause_one_notice(pay, work, sold, make_service, receiver):
    make_service(sold)
    receiver.respond = respond_with("no such product", status=404)

    pay(sold)
    pay(sold)
    work()

    assert set(Fulfillment.objects.values_list("status", flat=True)) == {"failed"}
    assert MerchantNotice.objects.get().kind == "source_failed"


def test_a_service_that_keeps_failing_is_paused_and_probed(pay, work, sold, make_service, receiver):
    service = make_service(sold)
    receiver.respond = respond_with("down", status=503)
    for _ in range(8):
        pay(sold)

    work()
    assert len(receiver.received) == breaker.FAILURES_BEFORE_PAUSE
    service.refresh_from_db()
    assert service.state == "paused"
    Fulfillment.objects.update(due_at="2026-01-01T00:00:00Z")
    WebService.objects.update(probe_at="2026-01-01T00:00:00Z")
    work()

    assert len(receiver.received) == breaker.FAILURES_BEFORE_PAUSE + 1
    numbers = iter(range(100))
    receiver.respond = lambda received: (200, {}, f"CODE-{next(numbers):04}".encode())
    Fulfillment.objects.update(due_at="2026-01-01T00:00:00Z")
    WebService.objects.update(probe_at="2026-01-01T00:00:00Z")
    work()
    work()
    assert ActivationCode.objects.count() == 8
    service.refresh_from_db()
    assert service.state == "healthy"


def test_an_outage_causes_one_notice_while_items_wait(pay, work, sold, make_service, receiver, mailoutbox):
    service = make_service(sold)
    receiver.respond = respond_with("down", status=503)
    pay(sold)
    work()
    notify_long_outages()
    assert not MerchantNotice.objects.exists()

    WebService.objects.update(failing_since=timezone.now() - timedelta(hours=2), paused_at=timezone.now())
    service.outgoing_requests.create(merchant=service.merchant, is_test=True, error="What a test brought back.")
    notify_long_outages()
    notify_long_outages()
    work()

    assert MerchantNotice.objects.get().kind == "source_down"
    [mail] = mailoutbox
    assert mail.subject == "“Gen” is down: 1 order item is waiting"
    assert f"/web-services/{service.pk}/" in mail.body
    assert "The service answered 503." in mail.body and "What a test" not in mail.body


def test_an_outage_without_waiting_items_causes_no_notice(pay, work, sold, make_service, receiver):
    make_service(sold)
    receiver.respond = respond_with("no", status=404)
    pay(sold)
    work()
    WebService.objects.update(failing_since=timezone.now() - timedelta(hours=2), paused_at=timezone.now())

    notify_long_outages()

    assert MerchantNotice.objects.get().kind == "source_failed"


def test_a_product_without_sources_uses_the_service_for_all_products(pay, work, sold, make_service, receiver):
    make_service(for_all_products=True)
    receiver.respond = respond_with("CODE-0001")

    order = pay(sold)["order"]
    work()

    assert codes_of(order) == ["CODE-0001"]


@pytest.mark.parametrize("content_type", ["application/json", "application/problem+json; charset=utf-8", "text/xml"])
def test_an_answer_labeled_as_a_document_is_not_a_code(
    pay, work, sold, make_service, receiver, content_type, mailoutbox
):
    make_service(sold)
    receiver.respond = lambda received: (200, {"Content-Type": content_type}, b'{"error": "no such product"}')

    pay(sold)
    work()

    assert not ActivationCode.objects.exists()
    assert "Enter the path of the code in it" in Fulfillment.objects.get().reason
