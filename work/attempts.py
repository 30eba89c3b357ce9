"""One attempt at a row of work: claim it, try it, then finish, postpone or give up."""

import logging
from datetime import timedelta
from typing import Any, Generic, TypeVar

from prometheus_client import Counter

from work import incidents, metrics
from work.models import Retryable
from work.request_ids import working_for
from work.stored_texts import in_english

logger = logging.getLogger(__name__)
ATTEMPTS = Counter("keywell_attempts", "Attempts at rows of work.", ["kind", "outcome"])


class Failure(Exception):
    """The attempt failed. The message is for the merchant."""

    def __init__(self, message: str, *, permanent: bool = False, pause: timedelta = timedelta(0)):
        super().__init__(message)
        self.permanent = permanent  # retrying won't help
        self.pause = pause  # minimum time before the next attempt


class NotNow(Failure):
    """There was nothing to try yet. The row is attempted again, without limit."""


Row = TypeVar("Row", bound=Retryable)


class Policy(Generic[Row]):
    """How rows of one model are attempted, and what happens when an attempt fails."""

    model: type[Row]
    related: tuple[str, ...] = ()  # what attempts need of other tables, read along with the row

    def run(self, pk: int) -> Any:
        """Make one attempt at a row if it is due. Return what `attempt` returns, or None."""
        row = self.claim(pk)
        return self.run_claimed(row) if row else None

    def run_claimed(self, row: Row) -> Any:
        """Make the attempt that a row was claimed for. Return what `attempt` returns, or None if it fails."""
        with working_for(self.get_request_id(row)), in_english():
            try:
                result = self.attempt(row)
            except Failure as failure:
                self.fail(row, failure)
                self._note(row, "postponed" if isinstance(failure, NotNow) else "failed")
                return None
            except Exception as error:
                self._handle_error(row, error)
                self._note(row, "error")
                return None
            self._note(row, "ok")
            return result

    def _handle_error(self, row: Row, error: Exception) -> None:
        # The work may be done and recorded, such as an e-mail sent. Don't repeat it.
        has_ended = self.model._default_manager.filter(pk=row.pk, due_at=None).exists()
        if has_ended:
            incidents.report(error, f"{row}, after it was done")
        else:
            self.fail(row, Failure(incidents.sentence(error, str(row))))

    def _note(self, row: Row, outcome: str) -> None:
        kind = self.model._meta.model_name or ""
        metrics.count(ATTEMPTS, kind, outcome)
        logger.info("%s %s, attempt %s: %s", kind, row.pk, row.attempts, outcome)

    def get_request_id(self, row: Row) -> str:
        """Return the id of the shop's request that caused this row, or an empty text."""
        return ""

    def claim(self, pk: int) -> Row | None:
        rows = self.model._default_manager
        row: Row | None = (rows.select_related(*self.related) if self.related else rows).claim(pk)
        return row

    def attempt(self, row: Row) -> Any:
        """Do the work and record the outcome. Raises Failure."""
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
        """Record the permanent failure and notify people if necessary."""
        row.end(reason=str(failure)[:500])
