import logging
import time
from typing import Any

from celery.beat import Scheduler
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
