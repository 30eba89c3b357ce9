"""Requests of test orders say so, and change nothing for real ones."""

import pytest

from fulfillment.actions import retry, retry_failed
from fulfillment.models import Fulfillment
from fulfillment.sources.web_service.models import ReceivedCode, WebService
from fulfillment.tests.factories import fulfill_due
from notices.models import MerchantNotice
from orders.models import ActivationCode, Order, OrderItem
from outbound.breaker import FAILURES_BEFORE_PAUSE
from outbound.models import OutgoingRequest
from portal.attention.causes import read_causes

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sold(make_product):
    return make_product(source=None)


def respond_with(code, status=200):
    return lambda received: (status, {}, code.encode())


def test_a_request_of_a_test_order_has_a_header(pay_as_test, work, sandbox, sold, make_service, receiver, mailoutbox):
    make_service(sold)
    receiver.respond = respond_with("AAAA-0001")

    pay_as_test(sold)
    work()

    [received] = receiver.received
    assert received.headers["keywell-test"] == "true"
    logged = OutgoingRequest.objects.get()
    assert (logged.is_test, logged.merchant) == (True, sandbox)
    assert ActivationCode.objects.get().code == "AAAA-0001"
    assert mailoutbox[0].subject.startswith("[Test] ")


def test_a_request_of_a_real_order_has_none(pay, work, sold, make_service, receiver):
    make_service(sold)
    receiver.respond = respond_with("AAAA-0001")

    pay(sold)
    work()

    assert "keywell-test" not in receiver.received[0].headers
    assert not OutgoingRequest.objects.get().is_test


def test_a_test_code_doesnt_take_a_code_from_a_real_order(pay, pay_as_test, work, sold, make_service, receiver):
    make_service(sold)
    receiver.respond = respond_with("AAAA-0001")

    pay_as_test(sold)
    work()
    pay(sold)
    work()

    assert set(Fulfillment.objects.values_list("status", flat=True)) == {"done"}
    assert ReceivedCode.objects.values("merchant").distinct().count() == 2


def test_the_service_doesnt_learn_from_test_codes(pay_as_test, work, sold, make_service, receiver):
    make_service(sold)
    receiver.respond = respond_with("THIS IS ONLY A TEST")

    pay_as_test(sold)
    work()

    assert WebService.objects.get().known_shapes == []


def test_a_test_code_that_looks_different_isnt_held(pay, pay_as_test, work, sold, make_service, receiver):
    make_service(sold)
    receiver.respond = respond_with("AAAA-0001")
    pay(sold)
    work()
    receiver.respond = respond_with("this is only a test")

    pay_as_test(sold)
    work()

    assert set(Fulfillment.objects.values_list("status", flat=True)) == {"done"}


def test_failing_test_orders_dont_pause_the_service(pay_as_test, sold, make_service, receiver):
    service = make_service(sold)
    receiver.respond = respond_with("", status=503)
    pay_as_test(sold)
    for _ in range(FAILURES_BEFORE_PAUSE + 1):
        retry(OrderItem.objects.get(), actor="Ada")
        fulfill_due()

    assert len(receiver.received) > FAILURES_BEFORE_PAUSE
    service = WebService.objects.get()
    assert (service.failures, service.failing_since, service.paused_at) == (0, None, None)


def test_test_orders_dont_wait_for_a_paused_service(pay_as_test, work, sold, make_service, receiver):
    make_service(sold)
    WebService.objects.update(paused_at="2026-01-01T00:00Z", probe_at="2100-01-01T00:00Z")
    receiver.respond = respond_with("AAAA-0001")

    pay_as_test(sold)
    work()

    assert Fulfillment.objects.get().status == "done"
    assert WebService.objects.get().paused_at


def test_a_failed_test_order_isnt_counted_as_one_of_the_services_failures(
    pay_as_test, work, merchant, sandbox, sold, make_service, receiver
):
    service = make_service(sold)
    receiver.respond = respond_with("no", status=400)
    pay_as_test(sold)
    work()

    assert Fulfillment.objects.get().status == "failed"
    assert Fulfillment.objects.count_failed(service) == 0
    assert not read_causes(merchant)
    assert retry_failed(service, actor="Ada") == 0
    notice = MerchantNotice.objects.get()
    assert (notice.kind, notice.merchant) == ("item_failed", sandbox)


def test_another_merchants_test_order_doesnt_reach_the_service(
    pay_as_test, outsider, make_product, make_service, receiver, work
):
    theirs = make_product(source=None, merchant=outsider, sku="THEIRS")
    make_service(theirs)  # the merchant's service, at another merchant's product
    mine = make_product(source=None)
    pay_as_test(mine)
    OrderItem.objects.update(product=theirs)
    Order.objects.update(merchant=outsider)
    work()

    assert not receiver.received
