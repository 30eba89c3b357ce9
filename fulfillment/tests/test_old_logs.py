"""Logs that would grow without limit are deleted after their retention period."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from delivery.models import Delivery, TrackingEvent
from fulfillment.history import order_history
from fulfillment.tasks import purge_logs
from notices.models import MerchantNotice
from orders.models import Order
from work import retention

pytestmark = pytest.mark.django_db


def days_ago(days):
    return timezone.now() - timedelta(days=days)


@pytest.fixture
def add_event(product, pay, work):
    def add(number, **fields):
        return TrackingEvent.objects.create(
            delivery=delivery, kind="opened", occurred_at=days_ago(1), fingerprint=b"%d" % number, **fields
        )

    pay(product)
    work()
    delivery = Delivery.objects.get()
    Delivery.objects.update(status="opened")
    return add


def add_notice(merchant, **fields):
    return MerchantNotice.objects.create(merchant=merchant, kind="pool_low", due_at=None, **fields)


def test_events_of_mail_providers_are_deleted_and_the_delivery_keeps_its_status(add_event):
    old = add_event(1, received_at=days_ago(settings.MAIL_EVENT_RETENTION + 1))
    new = add_event(2, received_at=days_ago(settings.MAIL_EVENT_RETENTION - 1))

    purge_logs()

    assert list(TrackingEvent.objects.all()) == [new] and new != old
    assert Delivery.objects.get().status == "opened"


def test_the_history_then_shows_the_status_of_the_email(add_event):
    add_event(1, received_at=days_ago(settings.MAIL_EVENT_RETENTION + 1))

    purge_logs()

    [line] = [line for line in order_history(Order.objects.get()) if line.kind == "mail"]
    assert line.state == "opened"


def test_sent_notices_are_deleted_except_those_that_are_sent_once(merchant):
    long_ago = days_ago(settings.NOTICE_RETENTION + 1)
    add_notice(merchant, ended_at=long_ago)
    kept = [
        add_notice(merchant, ended_at=days_ago(1)),
        add_notice(merchant, ended_at=long_ago, is_unique=True),
        add_notice(merchant, ended_at=None, created_at=long_ago),
    ]

    purge_logs()

    assert list(MerchantNotice.objects.order_by("pk")) == kept


def test_it_deletes_several_batches_at_once_and_leaves_the_rest_to_the_next_sweep(merchant, monkeypatch):
    monkeypatch.setattr(retention, "BATCH_SIZE", 2)
    for _ in range(5):
        add_notice(merchant, ended_at=days_ago(settings.NOTICE_RETENTION + 1))

    clock = iter([0, 0, 0.5, 2, 10, 10])
    monkeypatch.setattr(retention, "monotonic", lambda: next(clock))
    retention.delete_in_batches(MerchantNotice.objects.order_by("ended_at"))
    assert MerchantNotice.objects.count() == 1

    retention.delete_in_batches(MerchantNotice.objects.order_by("ended_at"))
    assert not MerchantNotice.objects.exists()
