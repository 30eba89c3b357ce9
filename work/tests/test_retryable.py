from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from delivery.models import Delivery


@pytest.fixture
def delivery(pay, product):
    pay(product)
    return Delivery.objects.get()


def make_due():
    Delivery.objects.update(due_at=timezone.now() - timedelta(seconds=1))


def test_a_row_is_claimed_once(delivery):
    assert Delivery.objects.claim(delivery.pk) == delivery
    assert Delivery.objects.claim(delivery.pk) is None


def test_the_claim_of_a_dead_worker_expires(delivery):
    Delivery.objects.claim(delivery.pk)

    Delivery.objects.update(due_at=F("due_at") - timedelta(seconds=61))

    assert Delivery.objects.claim(delivery.pk).attempts == 2


def test_a_finished_row_is_not_claimed(delivery):
    Delivery.objects.claim(delivery.pk).end(status="sent")

    assert Delivery.objects.claim(delivery.pk) is None


def test_a_worker_that_lost_its_claim_changes_nothing(delivery):
    late = Delivery.objects.claim(delivery.pk)
    make_due()
    Delivery.objects.claim(delivery.pk)

    assert not late.end(status="failed")
    assert Delivery.objects.get().status == "queued"


def test_the_delays_grow(delivery):
    delays = []
    for _ in range(12):
        make_due()
        claimed = Delivery.objects.claim(delivery.pk)
        claimed.postpone("The mail server is away.")
        claimed.refresh_from_db()
        delays.append((claimed.due_at - timezone.now()).total_seconds())

    assert delays[0] == pytest.approx(5, abs=1)
    assert delays[5] == pytest.approx(60, rel=0.15)
    assert delays[11] == pytest.approx(900, rel=0.15)


@pytest.mark.django_db(transaction=True)
def test_concurrent_workers_claim_a_row_once(delivery, in_threads):
    claims = in_threads(lambda _: Delivery.objects.claim(delivery.pk), range(16), threads=16)

    assert sum(claim is not None for claim in claims) == 1
