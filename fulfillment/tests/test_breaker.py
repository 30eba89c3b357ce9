"""Unavailable web services: retries, the circuit breaker, slots and notices."""

from collections import Counter
from datetime import timedelta
from email.utils import format_datetime
from time import sleep

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from fulfillment.actions import retry, retry_failed
from fulfillment.engine import fulfill, fulfill_in_turn
from fulfillment.models import Fulfillment
from fulfillment.product_sources import add_source
from fulfillment.sources.web_service import client as web_services
from fulfillment.sources.web_service.models import WebService
from fulfillment.tasks import nudge_due
from notices.models import MerchantNotice
from orders.models import ActivationCode, OrderItem
from outbound import breaker, outgoing_requests
from outbound.breaker import FAILURES_BEFORE_PAUSE, let_through
from outbound.models import OutgoingRequest, Upstream


@pytest.fixture
def sold(make_product):
    return make_product(source=None)


def respond_with(status, body=b"", headers=None):
    return lambda received: (status, headers or {}, body)


@pytest.fixture
def healthy_response():
    """Respond with one code per request; a repeated request gets the same code."""
    return lambda received: (200, {}, b"CODE-" + received.headers["idempotency-key"][-12:].encode())


def all_due(**service):
    Fulfillment.objects.filter(due_at__isnull=False).update(due_at=Now())
    WebService.objects.update(**service)


def due_in(fulfillment):
    fulfillment.refresh_from_db()
    return (fulfillment.due_at - timezone.now()).total_seconds()


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_it_waits_as_long_as_retry_after_says(pay, work, sold, make_service, receiver, form):
    make_service(sold)
    until = format_datetime(timezone.now() + timedelta(seconds=1000), usegmt=True)
    receiver.respond = respond_with(429, headers={"Retry-After": "1000" if form == "seconds" else until})

    pay(sold)
    work()
    work()

    assert due_in(Fulfillment.objects.get()) == pytest.approx(1000, abs=20)
    assert len(receiver.received) == 1


def test_the_retry_delay_grows_up_to_fifteen_minutes(pay, work, sold, make_service, receiver):
    make_service(sold)
    receiver.respond = respond_with(500)
    pay(sold)
    work()
    fulfillment = Fulfillment.objects.get()

    waits = [due_in(fulfillment)]
    for failing_for in (1, 5, 30, 600):
        all_due(failures=0, paused_at=None)
        Fulfillment.objects.update(failing_since=Now() - timedelta(minutes=failing_for))
        work()
        waits.append(due_in(fulfillment))

    assert waits == [pytest.approx(wait, rel=0.2) for wait in (5, 15, 75, 450, 900)]
    assert list(OutgoingRequest.objects.order_by("pk").values_list("attempt", flat=True)) == [1, 2, 3, 4, 5]


def test_items_fail_after_a_day_and_the_merchant_gets_one_notice(
    pay, work, sold, make_service, receiver, healthy_response, mailoutbox
):
    make_service(sold)
    receiver.respond = respond_with(503)
    for _ in range(3):
        pay(sold)
    work()
    assert set(Fulfillment.objects.values_list("status", flat=True)) == {"waiting"}

    all_due()
    Fulfillment.objects.update(failing_since=Now() - timedelta(hours=23, minutes=59))
    work()
    assert set(Fulfillment.objects.values_list("status", flat=True)) == {"waiting"}
    all_due(failures=0, paused_at=None)
    Fulfillment.objects.update(failing_since=Now() - timedelta(hours=24, minutes=1))
    work()
    work()

    assert set(Fulfillment.objects.values_list("status", "due_at")) == {("failed", None)}
    assert MerchantNotice.objects.count() == len(mailoutbox) == 1

    # It recovers. When it fails again much later, the merchant gets another notice.
    receiver.respond = healthy_response
    WebService.objects.update(notified_at=Now() - timedelta(days=1), failures=0, paused_at=None)
    for item in OrderItem.objects.all():
        retry(item, actor="Sam")
    work()
    assert ActivationCode.objects.count() == 3
    receiver.respond = respond_with(404)
    pay(sold)
    pay(sold)
    work()
    assert MerchantNotice.objects.count() == 2


def test_the_notice_counts_items_that_may_still_get_a_key_from_a_pool(
    pay, work, sold, make_service, make_pool, receiver, healthy_response, mailoutbox
):
    service = make_service(sold)
    add_source(sold, "pool", make_pool())
    receiver.respond = respond_with(404)
    pay(sold)
    work()
    assert Fulfillment.objects.get().status == "waiting"
    assert "1 order item got no activation code" in mailoutbox[0].body and "more wait" not in mailoutbox[0].body

    receiver.respond = healthy_response
    assert retry_failed(service, actor="Sam") == 1
    work()

    assert ActivationCode.objects.count() == 1


def test_the_merchant_is_notified_of_a_new_failure_after_a_recovery(
    pay, work, sold, make_service, receiver, healthy_response
):
    make_service(sold)
    receiver.respond = respond_with(404)
    pay(sold)
    work()
    receiver.respond = healthy_response
    retry(OrderItem.objects.get(), actor="Sam")
    work()
    assert ActivationCode.objects.exists()

    # The next order arrives hours later, with none in between.
    WebService.objects.update(notified_at=Now() - timedelta(hours=6))
    receiver.respond = respond_with(404)
    pay(sold)
    pay(sold)
    work()

    assert MerchantNotice.objects.count() == 2


def test_a_flapping_service_causes_at_most_one_notice_per_hour(
    pay, work, sold, make_service, receiver, healthy_response
):
    make_service(sold)
    for answer in [respond_with(404), healthy_response] * 3:
        receiver.respond = answer
        pay(sold)
        work()

    assert MerchantNotice.objects.count() == 1


def test_receiving_codes_resets_the_one_day_deadline(pay, work, sold, make_service, receiver):
    make_service(sold, request_per="item", holds_list=True)
    receiver.respond = respond_with(200, b"CODE-0001")
    pay(sold, quantity=2)
    Fulfillment.objects.update(failing_since=Now() - LONG_OUTAGE)

    work()

    fulfillment = Fulfillment.objects.get()
    assert fulfillment.status == "waiting"
    assert Fulfillment.objects.filter(failing_since__gt=Now() - timedelta(minutes=1)).exists()


LONG_OUTAGE = timedelta(days=2)


# The breaker


@pytest.fixture
def paused(sold, make_service):
    """A paused service that is due for a probe."""
    return make_service(sold, failures=FAILURES_BEFORE_PAUSE, failing_since=timezone.now(), paused_at=timezone.now())


def test_a_paused_service_gets_no_requests(pay, work, sold, paused, receiver):
    WebService.objects.update(probe_at=Now() + timedelta(seconds=100))

    pay(sold)
    work()

    assert not receiver.received and not OutgoingRequest.objects.exists()
    fulfillment = Fulfillment.objects.get()
    assert "Paused since" in fulfillment.reason and fulfillment.status == "waiting"
    assert 90 < due_in(fulfillment) < 110


@pytest.mark.django_db(transaction=True)
def test_only_one_probe_runs_at_a_time(pay, sold, paused, receiver, in_threads):
    WebService.objects.update(probe_at=Now() - LONG_OUTAGE)

    def respond_slowly(received):
        sleep(0.3)
        return (503,)

    receiver.respond = respond_slowly
    for _ in range(8):
        pay(sold)

    in_threads(fulfill_in_turn, list(Fulfillment.objects.values_list("pk", flat=True)), threads=8)

    assert len(receiver.received) == 1


def test_only_failed_probes_extend_the_pause(pay, work, sold, paused, receiver):
    receiver.respond = respond_with(503)
    pay(sold)

    pauses = []
    for _ in range(6):
        all_due(probe_at=Now())
        work()
        service = WebService.objects.annotate(pause=F("probe_at") - Now()).get()
        pauses.append(service.pause.total_seconds())
    # This request started before the pause.
    breaker.note_failure(service, is_probe=False)

    assert pauses == [pytest.approx(pause, abs=5) for pause in (60, 120, 300, 600, 600, 600)]
    service.refresh_from_db()
    assert service.failures == FAILURES_BEFORE_PAUSE + 6


@pytest.mark.parametrize("status", [200, 404])
def test_any_answer_to_a_probe_ends_the_pause_and_wakes_waiting_items(
    pay, work, sold, paused, receiver, healthy_response, status
):
    WebService.objects.update(probe_at=Now() + LONG_OUTAGE)
    for _ in range(4):
        pay(sold)
    work()
    assert not Fulfillment.objects.due().exists()
    receiver.respond = healthy_response if status == 200 else respond_with(404)
    first = Fulfillment.objects.earliest("pk")
    Fulfillment.objects.filter(pk=first.pk).update(due_at=Now())
    WebService.objects.update(probe_at=Now())

    fulfill(first.pk)

    assert Fulfillment.objects.due().count() == 3
    paused.refresh_from_db()
    assert paused.state == ("healthy" if status == 200 else "failing")
    work()
    assert Fulfillment.objects.filter(status="done" if status == 200 else "failed").count() == 4


def test_another_worker_can_probe_if_the_first_one_dies(pay, work, sold, paused, receiver, monkeypatch):
    WebService.objects.update(probe_at=Now())
    pay(sold)

    def die(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(web_services, "call", die)
    with pytest.raises(KeyboardInterrupt):
        fulfill(Fulfillment.objects.get().pk)

    paused = WebService.objects.annotate(pause=F("probe_at") - Now()).get()
    assert timedelta(seconds=30) < paused.pause <= breaker.PROBE_LEASE


# Slots


@pytest.fixture
def release_slots(receiver):
    """Take all slots of the receiver; call the fixture to release them."""
    slots = [outgoing_requests.slot(receiver.url) for _ in range(outgoing_requests.MAX_PER_HOST)]
    for slot in slots:
        slot.__enter__()

    def release():
        for slot in slots:
            slot.__exit__(None, None, None)
        slots.clear()

    yield release
    release()


def test_slots_are_per_host_whatever_the_path_query_or_case(receiver, release_slots):
    host = receiver.url.removesuffix("/hook")

    for url in (f"{host}?Email=ada@example.com", f"{host}/?Order=1", host.upper()):
        with pytest.raises(outgoing_requests.HostBusy) as error, outgoing_requests.slot(url):
            pass
        assert "ada" not in str(error.value)


def test_an_item_that_waits_for_a_slot_doesnt_fall_back_to_another_source(
    pay, work, sold, make_service, make_pool, receiver, healthy_response, release_slots
):
    make_service(sold)
    add_source(sold, "pool", make_pool(3))
    add_source(sold, "manual")
    receiver.respond = healthy_response
    pay(sold)

    work()
    assert not MerchantNotice.objects.exists() and not ActivationCode.objects.exists()
    release_slots()
    work()

    assert ActivationCode.objects.get().source == "web_service"


def test_a_request_waits_when_all_slots_of_its_host_are_taken(
    pay, work, sold, make_service, receiver, healthy_response, release_slots
):
    service = make_service(sold)
    receiver.respond = healthy_response
    pay(sold)

    work()
    assert not receiver.received and not OutgoingRequest.objects.exists()
    fulfillment = Fulfillment.objects.get()
    assert (fulfillment.status, fulfillment.failing_since) == ("waiting", None)
    assert "are in progress" in fulfillment.reason
    service.refresh_from_db()
    assert (service.failures, service.failing_since) == (0, None)
    release_slots()
    work()

    assert Fulfillment.objects.get().status == "done"


def test_a_probe_without_a_slot_stays_available(pay, work, sold, paused, receiver, release_slots):
    WebService.objects.update(probe_at=Now())
    pay(sold)

    work()

    assert WebService.objects.filter(probe_at__lte=Now()).exists()


@pytest.mark.django_db(transaction=True)
def test_a_slow_host_gets_at_most_four_requests_at_a_time_and_the_rest_follow(
    pay, sold, make_service, receiver, healthy_response, in_threads, monkeypatch
):
    make_service(sold)
    in_progress, concurrency = [], []

    def respond_slowly(received):
        in_progress.append(received)
        concurrency.append(len(in_progress))
        sleep(0.2)
        in_progress.remove(received)
        return healthy_response(received)

    receiver.respond = respond_slowly
    republished = []
    monkeypatch.setattr("fulfillment.engine.publish", lambda task, pk, queue: republished.append(pk))
    for _ in range(9):
        pay(sold)

    in_threads(fulfill_in_turn, list(Fulfillment.objects.values_list("pk", flat=True)), threads=9)
    assert max(concurrency) <= outgoing_requests.MAX_PER_HOST
    while republished:
        fulfill_in_turn(republished.pop())

    assert set(Fulfillment.objects.values_list("status", flat=True)) == {"done"}
    assert len(receiver.received) == 9 and ActivationCode.objects.count() == 9


def test_the_sweep_nudges_four_items_per_service_and_all_pool_items(
    pay, sold, make_product, make_service, monkeypatch
):
    make_service(sold, name="Slow")
    make_service(name="Shared", for_all_products=True)
    from_shared, from_pool = make_product(source=None), make_product(keys=0)
    for product in (sold, from_shared, from_pool):
        for _ in range(6):
            pay(product)
    Fulfillment.objects.update(due_at=Now())
    nudged = []
    monkeypatch.setattr(Fulfillment, "nudge", lambda fulfillment: nudged.append(fulfillment.item.product))

    nudge_due()

    assert Counter(nudged) == {sold: 4, from_shared: 4, from_pool: 6}


@pytest.mark.django_db(transaction=True)
def test_a_second_worker_doesnt_repeat_a_request_in_progress(pay, sold, make_service, receiver, healthy_response):
    make_service(sold)

    def wake_second_worker(received):
        if len(receiver.received) == 1:
            Fulfillment.objects.update(due_at=Now())
            fulfill_in_turn(pk)
            connection.close()
        return healthy_response(received)

    receiver.respond = wake_second_worker
    pay(sold)
    pk = Fulfillment.objects.get().pk

    fulfill_in_turn(pk)

    assert len(receiver.received) == 1


def test_letting_a_probe_through_takes_one_query(make_service, django_assert_num_queries):
    service = make_service()
    Upstream.objects.update(paused_at=Now(), probe_at=Now())

    with django_assert_num_queries(1):
        assert let_through(service)
