"""Workers record that they are alive. Beat does it by a periodic task."""

from typing import Any

from celery import Celery
from celery.bootsteps import StartStopStep

INTERVAL = 15  # seconds


class HeartbeatStep(StartStopStep):
    """Records a heartbeat from the loop of a worker that also takes tasks from the broker.

    Only after the pool has forked, and without keeping the connection: a fork must not inherit it.
    """

    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")

    def create(self, worker: Any) -> Any:
        return self

    def start(self, worker: Any) -> None:
        self._call("record_worker", worker)
        self.entry = worker.timer.call_repeatedly(INTERVAL, self._call, ("record_worker", worker))

    def stop(self, worker: Any) -> None:
        self.entry.cancel()
        self._call("forget_worker", worker)

    def terminate(self, worker: Any) -> None:
        self.stop(worker)

    def _call(self, task: str, worker: Any) -> None:
        queues = ",".join(sorted(worker.app.amqp.queues.consume_from))
        worker.app.tasks[f"runtime.tasks.{task}"](queues, worker.hostname)


def add_heartbeats(app: Celery) -> None:
    app.steps["worker"].add(HeartbeatStep)
