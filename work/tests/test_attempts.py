from datetime import timedelta

import pytest

from delivery.models import Delivery
from work.attempts import Failure, NotNow, Policy
from work.models import Incident


class Attempts(Policy[Delivery]):
    model = Delivery

    def __init__(self, error):
        self.error = error

    def attempt(self, row):
        if self.error:
            raise self.error
        row.end(status=Delivery.Status.SENT)
        return "done"


@pytest.fixture
def run(pay, product):
    """Make one attempt that raises `error`, after `attempts` earlier ones; return the row and the result."""
    pay(product)
    pk = Delivery.objects.get().pk

    def run(error=None, attempts=0):
        Delivery.objects.update(attempts=attempts)
        result = Attempts(error).run(pk)
        return Delivery.objects.get(), result

    return run


def test_finished_work_is_not_due(run):
    row, result = run()

    assert (row.status, row.due_at, result) == ("sent", None, "done")
    assert Attempts(None).run(row.pk) is None


def test_failed_work_is_retried_after_the_requested_pause(run):
    row, _ = run(Failure("The server is away.", pause=timedelta(hours=1)))

    assert row.reason == "The server is away." and row.ended_at is None
    assert row.due_at - row.created_at > timedelta(minutes=59)


def test_a_permanent_failure_is_not_retried(run):
    row, _ = run(Failure("There is no such address.", permanent=True))

    assert row.reason == "There is no such address." and row.ended_at and row.due_at is None


def test_the_last_attempt_gives_up(run):
    row, _ = run(Failure("The server is away."), attempts=Delivery.MAX_ATTEMPTS)

    assert row.due_at is None


def test_postponed_work_never_fails(run):
    row, _ = run(NotNow("It waits for its turn."), attempts=Delivery.MAX_ATTEMPTS)

    assert row.due_at and row.reason == "It waits for its turn."


def test_an_unexpected_error_is_logged_and_retried(run, caplog):
    row, _ = run(ZeroDivisionError("ada@example.com"))

    incident = Incident.objects.get()
    assert row.due_at and row.reason == f"Something went wrong on our side (reference {incident.reference})."
    assert f"Reference {incident.reference}: Automatic delivery {row.pk}" in caplog.text


class FailsAfterwards(Attempts):
    def attempt(self, row):
        row.end(status=Delivery.Status.SENT)
        raise ZeroDivisionError


def test_work_finished_before_an_error_is_not_repeated(run, caplog):
    row, _ = run(NotNow("It waits for its turn."))
    Delivery.objects.update(due_at=row.created_at)

    FailsAfterwards(None).run(row.pk)

    row.refresh_from_db()
    assert (row.status, row.due_at) == ("sent", None)
    assert "after it was done" in caplog.text
