"""Periodic tasks in a thread of a worker."""

import threading
from types import SimpleNamespace

import pytest
from celery.concurrency import prefork, thread
from django.core.exceptions import ImproperlyConfigured

from runtime import beat
from runtime.beat import BeatThread


def worker(pool=thread.TaskPool, tasks=None):
    schedule = {name: {"task": name, "schedule": 0.01} for name in tasks or {}}
    app = SimpleNamespace(conf=SimpleNamespace(beat_schedule=schedule), tasks=tasks)
    return SimpleNamespace(pool_cls=pool, app=app)


@pytest.fixture
def scheduler(monkeypatch):
    """A scheduler without Celery's own setup."""

    def init(self, app):
        self.app = app
        self.setup_schedule()

    monkeypatch.setattr(beat.LocalScheduler, "__init__", init)
    monkeypatch.setattr(beat, "close_old_connections", lambda: None)


def test_it_runs_only_when_asked_and_never_in_a_pool_that_forks():
    assert not BeatThread(worker()).include_if(worker())
    assert BeatThread(worker(), beat_thread=True).include_if(worker())
    with pytest.raises(ImproperlyConfigured):
        BeatThread(worker(), beat_thread=True).include_if(worker(prefork.TaskPool))


def test_it_repeats_tasks_beside_the_worker_until_that_stops(scheduler):
    ran = threading.Semaphore(0)
    names: list[str] = []

    def sweep():
        names.append(threading.current_thread().name)
        ran.release()
        raise RuntimeError("one that fails is repeated, too")

    started = worker(tasks={"sweep": sweep})
    step = BeatThread(started, beat_thread=True)
    step.start(started)
    for _ in range(3):
        assert ran.acquire(timeout=60)
    step.stop(started)

    assert set(names) == {"beat"}


def test_a_worker_whose_thread_fails_ends_to_be_restarted(scheduler, monkeypatch):
    ended: list[int] = []
    monkeypatch.setattr(beat.os, "_exit", ended.append)
    monkeypatch.setattr(beat.LocalScheduler, "tick", lambda self: 1 / 0)

    BeatThread(worker(), beat_thread=True)._run(worker().app)

    assert ended == [1]
