"""Additional parameters are kept for a limited time."""

import logging
from copy import copy
from datetime import timedelta
from urllib.parse import parse_qs

import pytest
from django.db import connection, transaction
from django.utils import timezone

from fulfillment import retention
from fulfillment.actions import retry
from fulfillment.retention import purge
from fulfillment.tests.test_personal_data import dump
from orders.models import Order, Refund
from orders.services import refund
from outbound.models import OutgoingRequest

pytestmark = pytest.mark.django_db(transaction=True)

PARAMETERS = {"referer1": "spring-mail-4711", "referer7": "partner-9"}


@pytest.fixture
def sold(make_product):
    return make_product(keys=1000, pool=None)


@pytest.fixture
def make_order(pay, sold):
    def make(status="paid", **days_ago):
        order = Order.objects.get(number=pay(sold, additional_parameters=PARAMETERS)["order"])
        times = {name: timezone.now() - timedelta(days=days) for name, days in days_ago.items()}
        Order.objects.filter(pk=order.pk).update(status=status, **times)
        return order

    return make


def has_parameters(order):
    order.refresh_from_db()
    return order.additional_parameters == PARAMETERS


@pytest.mark.parametrize(
    ("status", "days_ago", "kept"),
    [
        ("paid", {"paid_at": 364}, True),
        ("paid", {"paid_at": 366}, False),
        ("deleted", {"paid_at": 400, "ended_at": 119}, True),
        ("deleted", {"paid_at": 121, "ended_at": 121}, False),
        ("terminated", {"ended_at": 119}, True),
        ("terminated", {"ended_at": 121}, False),
        ("unpaid", {"paid_at": 4000, "reported_at": 4000}, True),
    ],
)
def test_parameters_are_kept_for_the_configured_time(make_order, status, days_ago, kept):
    order = make_order(status, **days_ago)

    purge()

    assert has_parameters(order) is kept


def test_the_retention_times_are_configurable(make_order, settings):
    settings.ADDITIONAL_PARAMETERS_KEPT_PAID, settings.ADDITIONAL_PARAMETERS_KEPT_ENDED = 10, 20
    paid, ended = make_order(paid_at=11), make_order("deleted", ended_at=19)

    purge()

    assert (has_parameters(paid), has_parameters(ended)) == (False, True)


def test_a_full_refund_restarts_the_retention_time(make_order):
    order = make_order(paid_at=364)

    refund(order, actor="Sam")
    purge()

    assert has_parameters(order)
    assert timezone.now() - order.ended_at < timedelta(minutes=1)


def test_the_last_refund_counts_if_the_end_of_an_order_wasnt_recorded(make_order):
    order, unknown = make_order("deleted"), make_order("terminated", paid_at=300)
    Refund.objects.create(order=order, amount=1, refunded_by="Sam")
    Refund.objects.update(refunded_at=timezone.now() - timedelta(days=121))

    purge()

    assert not has_parameters(order)
    assert has_parameters(unknown)
    assert timezone.now() - unknown.ended_at < timedelta(minutes=1)


def test_purging_leaves_no_trace_in_any_table(pay, work, make_product, make_service, receiver):
    product = make_product(source=None)
    make_service(product, parameters=["Order", "referer1"])
    receiver.respond = lambda received: (404, {}, b"no partner spring-mail-4711")
    pay(product, additional_parameters=PARAMETERS)
    work()
    retry(Order.objects.get().items.get(), actor="Sam")
    work()
    assert "spring-mail-4711" in dump()
    Order.objects.update(paid_at=timezone.now() - timedelta(days=366))

    purge()

    assert "spring-mail-4711" not in dump()
    assert OutgoingRequest.objects.count() == 2
    assert set(OutgoingRequest.objects.values_list("status_code", "error")) == {(404, "The service answered 404.")}

    # Later requests send the parameter empty.
    retry(Order.objects.get().items.get(), actor="Sam")
    work()
    assert parse_qs(receiver.received[-1].body.decode(), keep_blank_values=True)["referer1"] == [""]


def test_a_payment_reported_again_is_still_recognized(api, make_payment, sold):
    payment = make_payment(sold, additional_parameters=PARAMETERS)
    api.post("/api/v1/payments/", payment, format="json")
    Order.objects.update(paid_at=timezone.now() - timedelta(days=366))
    purge()

    again = api.post("/api/v1/payments/", payment, format="json")
    other = api.post("/api/v1/payments/", payment | {"additional_parameters": {}}, format="json")

    assert (again.status_code, other.status_code) == (200, 409)


def test_it_purges_in_batches_and_logs_each_count(make_order, monkeypatch, caplog):
    monkeypatch.setattr(retention, "PURGE_BATCH_SIZE", 2)
    for status in ("paid", "paid", "paid", "deleted"):
        make_order(status, paid_at=400, ended_at=400)

    with caplog.at_level(logging.INFO, logger="fulfillment.retention"):
        assert purge() == 4

    lines = [record.getMessage() for record in caplog.records if record.name == "fulfillment.retention"]
    assert lines == [f"Purged the additional parameters of {count} orders." for count in (2, 1, 1)]


def test_the_counts_are_logged_whatever_the_workers_log_level():
    """Celery sets the root logger to the worker's level."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.WARNING)
    try:
        assert logging.getLogger("fulfillment.retention").isEnabledFor(logging.INFO)
    finally:
        root.setLevel(level)


def test_it_skips_locked_orders(make_order, in_threads):
    held, free = make_order(paid_at=400), make_order(paid_at=400)

    with transaction.atomic():
        Order.objects.select_for_update().get(pk=held.pk)
        in_threads(lambda _: purge(), [None], 1)
        assert not has_parameters(free)
        assert has_parameters(held)

    purge()
    assert not has_parameters(held)


def test_the_queries_use_their_partial_indexes(make_order):
    order = make_order(paid_at=400)
    # Enough rows for a stable query plan: many without parameters, few with.
    for name in ("id", "link_token", "link_fingerprint"):
        setattr(order, name, None)
    copied_orders = [copy(order) for _ in range(2000)]
    for number, duplicate in enumerate(copied_orders):
        duplicate.number, duplicate.status = f"COPY-{number}", ["paid", "deleted", "terminated", "unpaid"][number % 4]
        duplicate.ended_at = duplicate.paid_at if number % 4 in (1, 2) else None
        duplicate.additional_parameters = {} if number % 20 > 4 else PARAMETERS
    Order.objects.bulk_create(copied_orders)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE orders_order")
        cursor.execute("SET enable_seqscan = off")
        plans = [
            retention._paid_long_ago()[:500].explain(),
            retention._ended_long_ago()[:500].explain(),
            retention._ended().filter(ended_at=None)[:500].explain(),
        ]
        cursor.execute("RESET enable_seqscan")

    assert ["order_parameters_of_paid" in plan for plan in plans] == [True, False, False]
    assert ["order_parameters_of_ended" in plan for plan in plans] == [False, True, True]
    assert "Sort" not in plans[0] + plans[1]
