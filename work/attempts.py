"""One attempt at a row that is work: claimed, tried, and done, put off or given up."""

from datetime import timedelta
from typing import Any, Generic, TypeVar

from work import incidents
from work.models import Retryable


class Failure(Exception):
    """An attempt that did not do its work. The message is for the merchant."""

    def __init__(self, message: str, *, permanent: bool = False, pause: timedelta = timedelta(0)):
        super().__init__(message)
        self.permanent = permanent  # no later attempt will do it
        self.pause = pause  # the next attempt waits for at least so long


class NotNow(Failure):
    """Nothing was tried and nothing failed: the next attempt follows, however often."""


Row = TypeVar("Row", bound=Retryable)


class Policy(Generic[Row]):
    """How rows of one kind are attempted, and what happens to one whose attempt failed."""

    model: type[Row]

    def run(self, pk: int) -> Any:
        """Make one attempt at a row if it is due; return what `attempt` returns, or None."""
        row = self.claim(pk)
        if row is None:
            return None
        try:
            return self.attempt(row)
        except Failure as failure:
            self.fail(row, failure)
        except Exception as error:
            # What was done before the error must not be done again: an e-mail that was sent and recorded.
            has_ended = self.model._default_manager.filter(pk=row.pk, due_at=None).exists()
            if has_ended:
                incidents.report(error, f"{row}, after it was done")
            else:
                self.fail(row, Failure(incidents.sentence(error, str(row))))
        return None

    def claim(self, pk: int) -> Row | None:
        row: Row | None = self.model._default_manager.claim(pk)
        return row

    def attempt(self, row: Row) -> Any:
        """Do the work, and record how it ended. Raises Failure."""
        raise NotImplementedError

    def fail(self, row: Row, failure: Failure) -> None:
        is_over = failure.permanent or row.is_last_attempt
        if is_over and not isinstance(failure, NotNow):
            self.give_up(row, failure)
        else:
            self.put_off(row, failure)

    def put_off(self, row: Row, failure: Failure) -> None:
        row.postpone(str(failure), at_least=failure.pause)

    def give_up(self, row: Row, failure: Failure) -> None:
        """Record that it failed for good, and tell who has to know."""
        row.end(reason=str(failure)[:500])
