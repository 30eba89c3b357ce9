"""Web services that are away: how long they are asked, how often, and who hears of it."""

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


def answering(status, body=b"", headers=None):
    return lambda received: (status, headers or {}, body)


@pytest.fixture
def healthy():
    """Answers with a code for each request: the same when asked again."""
    return lambda received: (200, {}, b"CODE-" + received.headers["idempotency-key"][-12:].encode())


def all_due(**service):
    Fulfillment.objects.filter(due_at__isnull=False).update(due_at=Now())
    WebService.objects.update(**service)


def due_in(fulfillment):
    fulfillment.refresh_from_db()
    return (fulfillment.due_at - timezone.now()).total_seconds()


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_it_is_left_alone_as_long_as_it_asks(pay, work, sold, make_service, receiver, form):
    make_service(sold)
    until = format_datetime(timezone.now() + timedelta(seconds=1000), usegmt=True)
    receiver.respond = answering(429, headers={"Retry-After": "1000" if form == "seconds" else until})

    pay(sold)
    work()
    work()

    assert due_in(Fulfillment.objects.get()) == pytest.approx(1000, abs=20)
    assert len(receiver.received) == 1


def test_it_is_asked_less_often_the_longer_it_fails_and_never_less_than_every_quarter_hour(
    pay, work, sold, make_service, receiver
):
    make_service(sold)
    receiver.respond = answering(500)
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


def test_after_a_day_its_items_have_failed_and_the_merchant_is_told_once(
    pay, work, sold, make_service, receiver, healthy, mailoutbox
):
    make_service(sold)
    receiver.respond = answering(503)
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

    # It works again; when it fails once more, long after, the merchant is told once more.
    receiver.respond = healthy
    WebService.objects.update(notified_at=Now() - timedelta(days=1), failures=0, paused_at=None)
    for item in OrderItem.objects.all():
        retry(item, actor="Sam")
    work()
    assert ActivationCode.objects.count() == 3
    receiver.respond = answering(404)
    pay(sold)
    pay(sold)
    work()
    assert MerchantNotice.objects.count() == 2


def test_an_item_that_may_still_get_a_key_counts_as_given_up_as_well(
    pay, work, sold, make_service, make_pool, receiver, healthy, mailoutbox
):
    service = make_service(sold)
    add_source(sold, "pool", make_pool())
    receiver.respond = answering(404)
    pay(sold)
    work()
    assert Fulfillment.objects.get().status == "waiting"
    assert "1 order item got no activation code" in mailoutbox[0].body and "more wait" not in mailoutbox[0].body

    receiver.respond = healthy
    assert retry_failed(service, actor="Sam") == 1
    work()

    assert ActivationCode.objects.count() == 1


def test_the_merchant_is_told_of_a_failure_after_a_repair_that_took_minutes(
    pay, work, sold, make_service, receiver, healthy
):
    make_service(sold)
    receiver.respond = answering(404)
    pay(sold)
    work()
    receiver.respond = healthy
    retry(OrderItem.objects.get(), actor="Sam")
    work()
    assert ActivationCode.objects.exists()

    # The next order comes hours later, and nothing in between.
    WebService.objects.update(notified_at=Now() - timedelta(hours=6))
    receiver.respond = answering(404)
    pay(sold)
    pay(sold)
    work()

    assert MerchantNotice.objects.count() == 2


def test_however_it_works_and_fails_by_turns_the_merchant_is_told_once_an_hour(
    pay, work, sold, make_service, receiver, healthy
):
    make_service(sold)
    for answer in [answering(404), healthy] * 3:
        receiver.respond = answer
        pay(sold)
        work()

    assert MerchantNotice.objects.count() == 1


def test_codes_that_come_meanwhile_give_it_another_day(pay, work, sold, make_service, receiver):
    make_service(sold, request_per="item", holds_list=True)
    receiver.respond = answering(200, b"CODE-0001")
    pay(sold, quantity=2)
    Fulfillment.objects.update(failing_since=Now() - LONG)

    work()

    fulfillment = Fulfillment.objects.get()
    assert fulfillment.status == "waiting"
    assert Fulfillment.objects.filter(failing_since__gt=Now() - timedelta(minutes=1)).exists()


LONG = timedelta(days=2)


# The breaker


@pytest.fixture
def paused(sold, make_service):
    """A service that is paused, and due to be probed."""
    return make_service(sold, failures=FAILURES_BEFORE_PAUSE, failing_since=timezone.now(), paused_at=timezone.now())


def test_a_paused_one_is_left_alone(pay, work, sold, paused, receiver):
    WebService.objects.update(probe_at=Now() + timedelta(seconds=100))

    pay(sold)
    work()

    assert not receiver.received and not OutgoingRequest.objects.exists()
    fulfillment = Fulfillment.objects.get()
    assert "Paused since" in fulfillment.reason and fulfillment.status == "waiting"
    assert 90 < due_in(fulfillment) < 110


@pytest.mark.django_db(transaction=True)
def test_one_probe_at_a_time(pay, sold, paused, receiver, in_threads):
    WebService.objects.update(probe_at=Now() - LONG)

    def slowly(received):
        sleep(0.3)
        return (503,)

    receiver.respond = slowly
    for _ in range(8):
        pay(sold)

    in_threads(fulfill_in_turn, list(Fulfillment.objects.values_list("pk", flat=True)), threads=8)

    assert len(receiver.received) == 1


def test_each_probe_that_fails_makes_the_pause_longer_and_others_do_not(pay, work, sold, paused, receiver):
    receiver.respond = answering(503)
    pay(sold)

    pauses = []
    for _ in range(6):
        all_due(probe_at=Now())
        work()
        service = WebService.objects.annotate(pause=F("probe_at") - Now()).get()
        pauses.append(service.pause.total_seconds())
    # One that was on its way since before the pause.
    breaker.note_failure(service, is_probe=False)

    assert pauses == [pytest.approx(pause, abs=5) for pause in (60, 120, 300, 600, 600, 600)]
    service.refresh_from_db()
    assert service.failures == FAILURES_BEFORE_PAUSE + 6


@pytest.mark.parametrize("status", [200, 404])
def test_any_answer_to_a_probe_ends_the_pause_and_wakes_those_who_wait(
    pay, work, sold, paused, receiver, healthy, status
):
    WebService.objects.update(probe_at=Now() + LONG)
    for _ in range(4):
        pay(sold)
    work()
    assert not Fulfillment.objects.due().exists()
    receiver.respond = healthy if status == 200 else answering(404)
    first = Fulfillment.objects.earliest("pk")
    Fulfillment.objects.filter(pk=first.pk).update(due_at=Now())
    WebService.objects.update(probe_at=Now())

    fulfill(first.pk)

    assert Fulfillment.objects.due().count() == 3
    paused.refresh_from_db()
    assert paused.state == ("healthy" if status == 200 else "failing")
    work()
    assert Fulfillment.objects.filter(status="done" if status == 200 else "failed").count() == 4


def test_a_probe_that_a_dying_worker_took_along_is_taken_by_another(pay, work, sold, paused, receiver, monkeypatch):
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
def occupied(receiver):
    """All slots of the receiver are taken, until it is told otherwise."""
    slots = [outgoing_requests.slot(receiver.url) for _ in range(outgoing_requests.MAX_PER_HOST)]
    for slot in slots:
        slot.__enter__()

    def release():
        for slot in slots:
            slot.__exit__(None, None, None)
        slots.clear()

    yield release
    release()


def test_what_an_address_says_to_a_host_makes_it_no_other(receiver, occupied):
    host = receiver.url.removesuffix("/hook")

    for url in (f"{host}?Email=ada@example.com", f"{host}/?Order=1", host.upper()):
        with pytest.raises(outgoing_requests.HostBusy) as refused, outgoing_requests.slot(url):
            pass
        assert "ada" not in str(refused.value)


def test_who_waits_for_a_turn_gets_no_code_elsewhere(
    pay, work, sold, make_service, make_pool, receiver, healthy, occupied
):
    make_service(sold)
    add_source(sold, "pool", make_pool(3))
    add_source(sold, "manual")
    receiver.respond = healthy
    pay(sold)

    work()
    assert not MerchantNotice.objects.exists() and not ActivationCode.objects.exists()
    occupied()
    work()

    assert ActivationCode.objects.get().source == "web_service"


def test_when_enough_is_on_its_way_to_a_host_the_next_waits_for_its_turn(
    pay, work, sold, make_service, receiver, healthy, occupied
):
    service = make_service(sold)
    receiver.respond = healthy
    pay(sold)

    work()
    assert not receiver.received and not OutgoingRequest.objects.exists()
    fulfillment = Fulfillment.objects.get()
    assert (fulfillment.status, fulfillment.failing_since) == ("waiting", None)
    assert "are in progress" in fulfillment.reason
    service.refresh_from_db()
    assert (service.failures, service.failing_since) == (0, None)
    occupied()
    work()

    assert Fulfillment.objects.get().status == "done"


def test_a_probe_that_found_no_slot_is_left_for_the_next(pay, work, sold, paused, receiver, occupied):
    WebService.objects.update(probe_at=Now())
    pay(sold)

    work()

    assert WebService.objects.filter(probe_at__lte=Now()).exists()


@pytest.mark.django_db(transaction=True)
def test_a_slow_host_is_asked_four_things_at_a_time_and_the_rest_follows(
    pay, sold, make_service, receiver, healthy, in_threads, monkeypatch
):
    make_service(sold)
    under_way, most = [], []

    def slowly(received):
        under_way.append(received)
        most.append(len(under_way))
        sleep(0.2)
        under_way.remove(received)
        return healthy(received)

    receiver.respond = slowly
    following = []
    monkeypatch.setattr("fulfillment.engine.publish", lambda task, pk, queue: following.append(pk))
    for _ in range(9):
        pay(sold)

    in_threads(fulfill_in_turn, list(Fulfillment.objects.values_list("pk", flat=True)), threads=9)
    assert max(most) <= outgoing_requests.MAX_PER_HOST
    while following:
        fulfill_in_turn(following.pop())

    assert set(Fulfillment.objects.values_list("status", flat=True)) == {"done"}
    assert len(receiver.received) == 9 and ActivationCode.objects.count() == 9


def test_the_sweep_wakes_as_many_of_a_service_as_it_takes_and_all_others(
    pay, sold, make_product, make_service, monkeypatch
):
    make_service(sold, name="Slow")
    make_service(name="Shared", for_all_products=True)
    by_shared, of_pool = make_product(source=None), make_product(keys=0)
    for product in (sold, by_shared, of_pool):
        for _ in range(6):
            pay(product)
    Fulfillment.objects.update(due_at=Now())
    nudged = []
    monkeypatch.setattr(Fulfillment, "nudge", lambda fulfillment: nudged.append(fulfillment.item.product))

    nudge_due()

    assert Counter(nudged) == {sold: 4, by_shared: 4, of_pool: 6}


@pytest.mark.django_db(transaction=True)
def test_who_is_woken_while_its_request_is_under_way_is_not_asked_for_twice(
    pay, sold, make_service, receiver, healthy
):
    make_service(sold)

    def wake_meanwhile(received):
        if len(receiver.received) == 1:
            Fulfillment.objects.update(due_at=Now())
            fulfill_in_turn(pk)
            connection.close()
        return healthy(received)

    receiver.respond = wake_meanwhile
    pay(sold)
    pk = Fulfillment.objects.get().pk

    fulfill_in_turn(pk)

    assert len(receiver.received) == 1


def test_the_breaker_moves_in_one_statement(make_service, django_assert_num_queries):
    service = make_service()
    Upstream.objects.update(paused_at=Now(), probe_at=Now())

    with django_assert_num_queries(1):
        assert let_through(service)
