"""Recovery of an import whose process is killed."""

import os
import signal
import threading

import pytest
from django.db import connection

from fulfillment.tasks import sweep, work_on_import
from pools import uploads
from pools.models import KeyBatch, KeyImport, KeyImportPart, KeyMovement, LicenseKey
from pools.tests.factories import count_staged_keys, lose_staged_keys
from runtime.tests.installation import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def key_import(make_pool, monkeypatch):
    """A confirmed import of 50,000 keys."""
    monkeypatch.setattr(uploads, "MAX_SYNCHRONOUS", 0)
    key_import = uploads.begin(
        make_pool(), [b"".join(b"KEY-%06d\n" % number for number in range(50_000))], actor="test"
    )
    uploads.work_on(key_import.pk)
    return uploads.confirm(key_import, actor="test")


def run_until_killed_at(function_path, monkeypatch, work):
    """Run `work` in a child process that kills itself when it calls the function; return whether it was killed."""
    pid = os.fork()
    if not pid:
        inherited, connection.connection = connection.connection, None  # the parent's
        monkeypatch.setattr(function_path, lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL))
        try:
            work()
        finally:
            os._exit(1 if inherited else 2)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def run_in_worker(pk):
    """Work on the import in a thread with its own connection, like a worker."""

    def work():
        work_on_import(pk)
        connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()


FUNCTION_PATHS = [
    "pools.imports._find_known",  # all keys are in a table of their own
    "pools.models.KeyBatch.objects.create",
    "pools.imports.rearm",  # the keys are in the pool
    "pools.uploads._end",
]


@pytest.mark.parametrize(
    ("function_path", "are_kept"),
    # Without the keys from the preview, it reads the upload again.
    [
        *((path, True) for path in FUNCTION_PATHS),
        *((path, False) for path in ["pools.imports.hints", *FUNCTION_PATHS]),
    ],
)
def test_a_killed_process_leaves_nothing_and_the_sweep_retries_the_import(
    key_import, function_path, are_kept, monkeypatch
):
    if not are_kept:
        lose_staged_keys()

    with monkeypatch.context() as patch:
        assert run_until_killed_at(function_path, patch, lambda: uploads.work_on(key_import.pk))

    assert not LicenseKey.objects.exists() and not KeyBatch.objects.exists() and not KeyMovement.objects.exists()

    monkeypatch.setattr("fulfillment.tasks.publish", lambda name, pk, queue: run_in_worker(pk))
    # The database takes a moment to notice that a client died.
    wait_until(lambda: sweep() or KeyImport.objects.filter(status=KeyImport.Status.IMPORTED))

    assert KeyImport.objects.get().attempts == 2
    assert LicenseKey.objects.count() == KeyBatch.objects.get().key_count == 50_000
    assert not KeyImportPart.objects.exists()


def test_a_process_killed_during_a_preview_leaves_nothing(make_pool, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_SYNCHRONOUS", 0)
    key_import = uploads.begin(make_pool(), [b"AAAA\nBBBB"], actor="test")

    with monkeypatch.context() as patch:
        assert run_until_killed_at("pools.imports._find_known", patch, lambda: uploads.work_on(key_import.pk))

    assert not count_staged_keys()
    wait_until(lambda: run_in_worker(key_import.pk) or KeyImport.objects.filter(status=KeyImport.Status.READY))
    assert count_staged_keys() == 2


def test_it_gives_up_on_an_import_that_keeps_failing(key_import, monkeypatch):
    KeyImport.objects.update(attempts=uploads.MAX_ATTEMPTS)

    uploads.work_on(key_import.pk)

    key_import.refresh_from_db()
    assert key_import.status == "failed" and "failed several times" in key_import.error
    assert not KeyImportPart.objects.exists()


def test_concurrent_workers_run_an_import_only_once(key_import, in_threads):
    in_threads(uploads.work_on, [key_import.pk] * 4, threads=4)

    assert KeyBatch.objects.get().key_count == LicenseKey.objects.count() == 50_000
