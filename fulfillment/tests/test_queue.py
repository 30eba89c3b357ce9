"""Tasks only nudge: their number is limited, and no row depends on one."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now
from redis.exceptions import RedisError

from delivery.models import Delivery, LinkRequest
from delivery.models.deliveries import ALL
from delivery.tasks import deliver, send_links
from fulfillment.engine import fulfill_in_turn
from fulfillment.models import Fulfillment
from fulfillment.tasks import purge_parameters, sweep
from outbound.models import MailAccount
from portal.celery import app
from runtime.beat import LocalScheduler
from work.models import CALLOUTS, DEFAULT, MAX_QUEUE_LENGTH, begin_task, database_now, publish
from work.tasks import note_begin
from work.valkey import Breaker, valkey

TASK = Delivery.TASK


@pytest.fixture(autouse=True)
def keep_test_connection(monkeypatch):
    for module in ("work.tasks", "runtime.beat"):
        monkeypatch.setattr(f"{module}.close_old_connections", lambda: None)


@pytest.fixture
def sent_tasks(monkeypatch):
    """The row IDs of the tasks sent to a queue."""
    sent_tasks = []
    monkeypatch.setattr("work.models.current_app.send_task", lambda task, args, queue: sent_tasks.append(args[0]))
    for key in valkey().scan_iter("keywell:queued:*"):
        valkey().delete(key)
    return sent_tasks


def test_a_row_is_queued_once_until_a_worker_begins_it(sent_tasks):
    for pk in (1, 2, 1, 1):
        publish(TASK, pk)
    assert sent_tasks == [1, 2]

    begin_task(TASK, 1)
    publish(TASK, 1)

    assert sent_tasks == [1, 2, 1]


def test_a_row_can_be_queued_again_once_its_task_begins(sent_tasks):
    publish(TASK, 1)

    note_begin(task=app.tasks[TASK], args=[1])
    publish(TASK, 1)

    assert sent_tasks == [1, 1]


def test_a_full_queue_takes_no_more_tasks(sent_tasks):
    valkey().rpush(DEFAULT, *["task"] * MAX_QUEUE_LENGTH)
    publish(TASK, 1)
    publish(Fulfillment.TASK, 2, queue=CALLOUTS)

    assert sent_tasks == [2]  # another queue


@pytest.fixture
def requests(merchant):
    for _ in range(5):
        LinkRequest.objects.create(merchant=merchant, email="ada@example.com", language="en", source=b"")
    return list(LinkRequest.objects.order_by("pk"))


def test_a_worker_serves_retries_first_then_the_longest_overdue(requests, monkeypatch):
    first, second, third, fourth, fifth = requests
    minutes = {first: 1, second: 3, third: 2, fourth: 0.5, fifth: -5}
    for request, overdue in minutes.items():
        request._update(due_at=Now() - timedelta(minutes=overdue))
    LinkRequest.objects.filter(pk=fourth.pk).update(attempts=1)
    attempts: list[int] = []

    def attempt(pk):
        attempts.append(pk)
        LinkRequest.objects.claim(pk)

    monkeypatch.setattr("delivery.link_requests.send_links", attempt)

    send_links(first.pk)

    assert attempts == [fourth.pk, second.pk, third.pk, first.pk]


def test_a_worker_leaves_time_for_other_tasks(requests, sent_tasks, monkeypatch):
    clock = iter(range(0, 100, 2))
    monkeypatch.setattr("work.tasks.monotonic", lambda: next(clock))
    attempts: list[int] = []
    monkeypatch.setattr("delivery.link_requests.send_links", attempts.append)

    send_links(requests[0].pk)

    assert attempts == [request.pk for request in requests[:2]]
    assert sent_tasks == [requests[2].pk]


def test_a_row_that_is_not_claimed_does_not_keep_a_worker_busy(requests, monkeypatch):
    attempts: list[int] = []
    monkeypatch.setattr("delivery.link_requests.send_links", attempts.append)

    send_links(requests[0].pk)

    assert attempts == [request.pk for request in requests]


def test_all_due_emails_share_a_nudge(pay, product, sent_tasks, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(3):
            pay(product)
    assert sent_tasks == [ALL]
    begin_task(TASK, ALL)

    Delivery.objects.nudge_due()

    assert sent_tasks == [ALL, ALL]


def test_emails_through_a_merchants_server_are_left_to_their_own_worker(pay, product, merchant, sent_tasks):
    pay(product)
    MailAccount.objects.create(merchant=merchant, kind="postmark", sender="a@example.com", credentials="{}")

    deliver(ALL)
    Delivery.objects.nudge_due()

    assert Delivery.objects.get().attempts == 0
    assert sent_tasks == [merchant.pk]


def test_a_fulfillment_goes_to_the_queue_of_its_source(pay, make_product, make_service):
    """Outgoing requests wait for other people's servers, so they have their own queue and workers."""
    pooled, manual, called = make_product(), make_product(source="manual"), make_product(source=None)
    make_service(called)
    pay(pooled, manual, called)
    queues = {row.item.product: row.queue for row in Fulfillment.objects.all()}

    assert queues == {pooled: DEFAULT, manual: DEFAULT, called: CALLOUTS}


def test_a_deleted_fulfillment_is_ignored(db, sent_tasks):
    fulfill_in_turn(0)

    assert sent_tasks == []


def test_beat_runs_the_sweep_by_a_monotonic_clock(monkeypatch):
    now, ran = 1000.0, []
    monkeypatch.setattr("runtime.beat.time.monotonic", lambda: now)
    monkeypatch.setattr(sweep, "run", lambda: ran.append(now))
    monkeypatch.setattr(purge_parameters, "run", lambda: None)
    scheduler = LocalScheduler(app)

    assert scheduler.tick() == 10
    now += 4
    assert scheduler.tick() == 6
    now += 100
    scheduler.tick()

    assert ran == [1000, 1104]


def test_a_sweep_that_fails_does_not_stop_beat(monkeypatch, caplog):
    def fail():
        raise RuntimeError("down")

    monkeypatch.setattr(sweep, "run", fail)
    monkeypatch.setattr(purge_parameters, "run", lambda: None)

    assert LocalScheduler(app).tick() > 0
    assert "fulfillment.tasks.sweep failed" in caplog.text


@pytest.mark.parametrize("hours", [-40, 40])
def test_a_workers_clock_does_not_matter(pay, make_product, monkeypatch, hours):
    pay(make_product(keys=0))
    fulfillment = Fulfillment.objects.get()
    fulfillment.failing_since = database_now() - timedelta(hours=8)
    monkeypatch.setattr("django.utils.timezone.now", lambda: database_now() + timedelta(hours=hours))

    assert not fulfillment.is_last_attempt
    assert fulfillment._delay() <= Fulfillment.MAX_DELAY * 1.1


def test_valkey_isnt_asked_for_a_while_after_it_failed_to_answer(settings, tmp_path, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("work.valkey.monotonic", lambda: now)
    monkeypatch.setattr(Breaker, "closed_until", 0)
    address = settings.VALKEY
    settings.VALKEY = settings.VALKEY | {"url": f"unix://{tmp_path}/nobody"}
    valkey.cache_clear()
    with pytest.raises(RedisError):
        valkey().ping()

    settings.VALKEY = address
    valkey.cache_clear()
    with pytest.raises(RedisError, match="a moment ago"):
        valkey().ping()
    now += 6

    assert valkey().ping()
