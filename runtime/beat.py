import logging
import time
from typing import Any

from celery.beat import Scheduler
from django.db import close_old_connections

logger = logging.getLogger(__name__)


class LocalScheduler(Scheduler):
    """Runs each periodic task here instead of sending it to a queue, where a load could keep it waiting.

    The sweep finds what queues and workers lost, so it needs neither. A schedule is the number of seconds between two
    starts of a task, by a clock that nobody sets.
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
