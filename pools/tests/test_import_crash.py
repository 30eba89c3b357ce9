"""What is left of an import whose process is killed, and who does it then."""

import os
import signal
import threading

import pytest
from django.db import connection

from fulfillment.tasks import sweep, work_on_import
from pools import uploads
from pools.models import KeyBatch, KeyImport, KeyImportPart, KeyMovement, LicenseKey
from runtime.tests.installation import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def key_import(make_pool, monkeypatch):
    """An import of 50,000 keys that a person said yes to."""
    monkeypatch.setattr(uploads, "MAX_SYNCHRONOUS", 0)
    key_import = uploads.begin(
        make_pool(), [b"".join(b"KEY-%06d\n" % number for number in range(50_000))], actor="test"
    )
    uploads.work_on(key_import.pk)
    return uploads.confirm(key_import, actor="test")


def in_a_process_killed_at(moment, monkeypatch, work):
    """Do the work in a process that is killed by the kernel as soon as it comes to call this function."""
    pid = os.fork()
    if not pid:
        inherited, connection.connection = connection.connection, None  # the parent's
        monkeypatch.setattr(moment, lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL))
        try:
            work()
        finally:
            os._exit(1 if inherited else 2)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def in_a_worker(pk):
    """Do the work as a worker would: on a connection of its own, as soon as it is told to."""

    def work():
        work_on_import(pk)
        connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()


MOMENTS = [
    "pools.imports.hint",  # the first keys are read
    "pools.imports._skip_known",  # all are in a table of their own
    "pools.models.KeyBatch.objects.create",
    "pools.imports.rearm",  # they are in the pool
    "pools.uploads._end",
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_process_that_is_killed_leaves_nothing_and_the_sweep_has_it_done(key_import, moment, monkeypatch):
    with monkeypatch.context() as patch:
        assert in_a_process_killed_at(moment, patch, lambda: uploads.work_on(key_import.pk))

    assert not LicenseKey.objects.exists() and not KeyBatch.objects.exists() and not KeyMovement.objects.exists()

    monkeypatch.setattr("fulfillment.tasks.publish", lambda name, pk, queue: in_a_worker(pk))
    # The database notices the death of a client within moments.
    wait_until(lambda: sweep() or KeyImport.objects.filter(status=KeyImport.Status.IMPORTED))

    assert KeyImport.objects.get().attempts == 2
    assert LicenseKey.objects.count() == KeyBatch.objects.get().key_count == 50_000
    assert not KeyImportPart.objects.exists()


def test_an_import_that_fails_again_and_again_is_given_up(key_import, monkeypatch):
    KeyImport.objects.update(attempts=uploads.MAX_ATTEMPTS)

    uploads.work_on(key_import.pk)

    key_import.refresh_from_db()
    assert key_import.status == "failed" and "failed several times" in key_import.error
    assert not KeyImportPart.objects.exists()


def test_two_workers_at_one_import_import_once(key_import, in_threads):
    in_threads(uploads.work_on, [key_import.pk] * 4, threads=4)

    assert KeyBatch.objects.get().key_count == LicenseKey.objects.count() == 50_000
