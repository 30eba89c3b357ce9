"""Workers and beat record that they are alive."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from celery import current_app
from django.db import DatabaseError
from django.db.models.functions import Now

from runtime import measures, tasks
from runtime.heartbeats import HeartbeatStep
from runtime.models import Heartbeat

pytestmark = pytest.mark.django_db(transaction=True)


class Timer:
    """Celery's timer, to be turned by hand."""

    def call_repeatedly(self, seconds, function, arguments):
        self.call = lambda: function(*arguments)
        return SimpleNamespace(cancel=lambda: None)


def make_worker(name="worker@a", queues=("celery",)):
    amqp = SimpleNamespace(queues=SimpleNamespace(consume_from=dict.fromkeys(queues)))
    return SimpleNamespace(hostname=name, timer=Timer(), app=SimpleNamespace(amqp=amqp, tasks=current_app.tasks))


def test_a_worker_records_it_at_its_start_and_then_regularly():
    worker = make_worker(queues=["imports", "callouts"])
    HeartbeatStep(worker).start(worker)

    [row] = Heartbeat.objects.all()
    assert (row.service, row.node) == ("callouts,imports", "worker@a")
    Heartbeat.objects.update(beat_at=Now() - timedelta(minutes=10))
    worker.timer.call()
    [beat] = measures.read_heartbeats()
    assert not beat.is_missing


def test_workers_of_several_machines_each_appear_and_one_that_stops_disappears():
    workers = [make_worker(f"worker@{machine}") for machine in "abc"]
    steps = [HeartbeatStep(worker) for worker in workers]
    for step, worker in zip(steps, workers, strict=True):
        step.start(worker)
    steps[1].stop(workers[1])

    assert [beat.node for beat in measures.read_heartbeats()] == ["worker@a", "worker@c"]


def test_a_worker_that_was_killed_is_missing_after_a_minute_and_forgotten_after_an_hour():
    Heartbeat.record("celery", "worker@a")
    Heartbeat.objects.update(beat_at=Now() - timedelta(seconds=61))
    tasks.record_beat()
    assert measures.missing_services(measures.read_heartbeats()) == ["celery", "callouts"]
    assert Heartbeat.objects.count() == 2

    Heartbeat.objects.filter(service="celery").update(beat_at=Now() - timedelta(minutes=61))
    tasks.record_beat()
    assert [beat.service for beat in measures.read_heartbeats()] == ["beat"]


def test_without_the_database_the_worker_goes_on(monkeypatch, caplog):
    def fail(*_):
        raise DatabaseError("password=secret")

    monkeypatch.setattr(Heartbeat, "record", fail)
    worker = make_worker()
    HeartbeatStep(worker).start(worker)

    assert "worker@a" in caplog.text and "secret" not in caplog.text
