"""The floor for e-mails: a Celery task that sends one over a kept connection, as text and HTML, and its worker."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

from celery import Celery
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.core.mail.backends.smtp import EmailBackend

from benchmarks.harness import Env
from runtime.tests.installation import PROJECT

QUEUE = "bare_mail"

app = Celery("bare_mail", broker=os.environ.get("BROKER_URL"), set_as_current=False)
app.conf.update(
    task_default_queue=QUEUE,
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


# As long as ours.
TEXT, HTML = "AAAAA-BBBBB-CCCCC\n" * 20, "<p>AAAAA-BBBBB-CCCCC</p>\n" * 160


@app.task
def send(recipient):
    message = EmailMultiAlternatives("Your license", TEXT, "shop@example.com", [recipient])
    message.attach_alternative(HTML, "text/html")
    server().send_messages([message])


@cache
def server() -> EmailBackend:
    if not settings.configured:
        settings.configure()
    server = EmailBackend(host="127.0.0.1", port=int(os.environ["SINK_PORT"]))
    server.open()
    return server


@contextlib.contextmanager
def worker(env: Env, sink_port: int) -> Iterator[int]:
    """Run a worker with as many processes as ours. Yield its process id."""
    command = ["celery", "--app", "benchmarks.bare_mail", "worker", "--loglevel", "WARNING", "--without-gossip"]
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "--without-mingle", "--concurrency", "2", "--hostname", "bare_mail@%h"],
        cwd=PROJECT,
        env={**env, "SINK_PORT": str(sink_port)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()
