import logging
import os
import time
from threading import Event, Thread
from typing import Any

from celery import Celery
from celery.beat import Scheduler
from celery.bootsteps import StartStopStep
from click import Option
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections

logger = logging.getLogger(__name__)


class LocalScheduler(Scheduler):
    """Runs each periodic task in this process instead of a queue, where load could delay it.

    The sweep finds work that queues and workers lost, so it must not depend on them. A schedule is the number of
    seconds between two starts of a task, by the monotonic clock.
    """

    def setup_schedule(self) -> None:
        self.due_at = dict.fromkeys(self.app.conf.beat_schedule, time.monotonic())

    def tick(self, *_: Any, **__: Any) -> float:
        for name, entry in self.app.conf.beat_schedule.items():
            if self.due_at[name] <= time.monotonic():
                self.due_at[name] = time.monotonic() + entry["schedule"]
                self._run(entry["task"])
        return max(0, min(self.due_at.values()) - time.monotonic())

    def _run(self, task: str) -> None:
        close_old_connections()
        try:
            self.app.tasks[task]()
        except Exception:
            logger.exception("The periodic task %s failed", task)


class BeatThread(StartStopStep):
    """The worker's option `--beat-thread`: a thread that runs periodic tasks and needs nothing else of the worker.

    It replaces the process `celery beat --scheduler runtime.beat.LocalScheduler`.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, beat_thread: bool = False, **options: Any) -> None:
        super().__init__(worker, **options)
        self.enabled = beat_thread
        self.stopping = Event()

    def include_if(self, worker: Any) -> bool:
        if self.enabled and not worker.pool_cls.__module__.endswith(".thread"):
            # Other pools fork, and a fork must inherit neither threads nor their connections.
            raise ImproperlyConfigured("--beat-thread needs --pool threads.")
        return self.enabled

    def create(self, worker: Any) -> Any:
        return self

    def start(self, worker: Any) -> None:
        Thread(target=self._run, args=[worker.app], name="beat", daemon=True).start()

    def stop(self, worker: Any) -> None:
        self.stopping.set()

    def terminate(self, worker: Any) -> None:
        self.stop(worker)

    def _run(self, app: Celery) -> None:
        try:
            scheduler = LocalScheduler(app=app)
            while not self.stopping.wait(scheduler.tick()):
                pass
        except BaseException:
            # A worker without its thread would look healthy, so it ends and is restarted.
            logger.exception("Periodic tasks failed")
            os._exit(1)


def add_beat_thread(app: Celery) -> None:
    help_text = "Also run periodic tasks, in a thread. Needs --pool threads."
    app.user_options["worker"].add(Option(["--beat-thread"], is_flag=True, help=help_text))
    app.steps["worker"].add(BeatThread)
