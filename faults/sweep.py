"""Kills the workers while 5,000 e-mails wait and some are being sent."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys

from benchmarks.harness import payment, post, production, run_script
from runtime.tests.installation import PROJECT, Keywell, wait_until

DELIVERIES = 5000
SECONDS = 180
MAX_OVERDUE = 90
KILLS_AT = (5, 15)

# Resends of one order's code, which take as much work as e-mails of different orders.
QUEUE = """
from django.db.models.functions import Now
from delivery.models import DeliveredCode, Delivery
from orders.models import ActivationCode
from outbound.mail import make_message_id
code = ActivationCode.objects.select_related("item__order").latest("pk")
order = code.item.order
new = [
    Delivery(merchant_id=order.merchant_id, order=order, kind="resend", recipient="ada@example.com", message_id=name)
    for name in [make_message_id() for _ in range({count})]
]
Delivery.objects.bulk_create(new)
DeliveredCode.objects.bulk_create(DeliveredCode(delivery=delivery, code=code, automatic=False) for delivery in new)
new[0].nudge()
"""
# Every second: seconds by which started rows are overdue, waiting rows, sent e-mails.
WATCH = """
import time
from django.db import connection
for _ in range({seconds}):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(max(extract(epoch FROM now() - due_at)) FILTER (WHERE attempts > 0), 0),"
            " count(*) FILTER (WHERE due_at IS NOT NULL), count(*) FILTER (WHERE status = 'sent')"
            " FROM delivery_delivery"
        )
        print(*cursor.fetchone(), flush=True)
    time.sleep(1)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deliveries", type=int, default=DELIVERIES)
    options = parser.parse_args()
    with production() as (keywell, env, sink):
        assert post(env, "payments/", payment("B1")) == 201
        wait_until(lambda: sink.messages)
        run_script(keywell, QUEUE.format(count=options.deliveries))
        return watch(keywell, options.deliveries)


def watch(keywell: Keywell, count: int) -> int:
    command = [sys.executable, "run.py", "manage", "shell", "--no-imports", "-c", WATCH.format(seconds=SECONDS)]
    watcher = subprocess.Popen(
        command, cwd=PROJECT, env=keywell.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    assert watcher.stdout
    worst, killed = 0.0, 0
    for second, line in enumerate(watcher.stdout):
        overdue, waiting, sent = line.split()
        worst = max(worst, float(overdue))
        if second in KILLS_AT:
            killed += kill_workers(keywell)
        if second % 10 == 0:
            print(
                f"{second:4} s: {waiting} wait, {sent} sent; started rows overdue by {float(overdue):.0f} s",
                flush=True,
            )
    print(f"{count} e-mails, {killed} worker processes killed: started rows were overdue by at most {worst:.0f} s")
    return 0 if worst <= MAX_OVERDUE and killed else 1


def kill_workers(keywell: Keywell) -> int:
    """Kill -9 all processes that send e-mails at once."""
    pids = [pid for pid, command in keywell.family().items() if "celery" in command and "worker@" in command]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)


if __name__ == "__main__":
    sys.exit(main())
