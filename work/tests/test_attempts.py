from datetime import timedelta

import pytest

from delivery.models import Delivery
from work.attempts import OURS, Failure, NotNow, Policy


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
    """Make one attempt, after so many others, that raises this; return the row and what the attempt returned."""
    pay(product)
    pk = Delivery.objects.get().pk

    def run(error=None, attempts=0):
        Delivery.objects.update(attempts=attempts)
        result = Attempts(error).run(pk)
        return Delivery.objects.get(), result

    return run


def test_what_is_done_is_not_due(run):
    row, result = run()

    assert (row.status, row.due_at, result) == ("sent", None, "done")
    assert Attempts(None).run(row.pk) is None


def test_what_failed_is_tried_again_after_the_pause_it_asks_for(run):
    row, _ = run(Failure("The server is away.", pause=timedelta(hours=1)))

    assert row.reason == "The server is away." and row.ended_at is None
    assert row.due_at - row.created_at > timedelta(minutes=59)


def test_what_fails_for_good_is_given_up_at_once(run):
    row, _ = run(Failure("There is no such address.", permanent=True))

    assert row.reason == "There is no such address." and row.ended_at and row.due_at is None


def test_the_last_attempt_gives_up(run):
    row, _ = run(Failure("The server is away."), attempts=Delivery.MAX_ATTEMPTS)

    assert row.due_at is None


def test_what_was_not_tried_is_never_given_up(run):
    row, _ = run(NotNow("It waits for its turn."), attempts=Delivery.MAX_ATTEMPTS)

    assert row.due_at and row.reason == "It waits for its turn."


def test_an_error_of_ours_is_logged_and_tried_again(run, caplog):
    row, _ = run(ZeroDivisionError("ada@example.com"))

    assert row.due_at and row.reason == OURS
    assert "will be retried" in caplog.text


class FailsAfterwards(Attempts):
    def attempt(self, row):
        row.end(status=Delivery.Status.SENT)
        raise ZeroDivisionError


def test_what_was_done_before_an_error_is_not_done_again(run, caplog):
    row, _ = run(NotNow("It waits for its turn."))
    Delivery.objects.update(due_at=row.created_at)

    FailsAfterwards(None).run(row.pk)

    row.refresh_from_db()
    assert (row.status, row.due_at) == ("sent", None)
    assert "was done, but then raised an error" in caplog.text
