"""Requests to addresses that merchants type in, so that none reaches what only we can reach.

Everything that goes to such an address goes through `call`, or, where it is not HTTP, through `address_guard.connect`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from threading import BoundedSemaphore
from time import monotonic
from typing import Any

from django.db.models.functions import Now
from django.utils import timezone

from merchants.models import Merchant
from outbound.address_guard import OutgoingRequestError, parse
from outbound.encodings import Unreadable, decode, storable, unpack
from outbound.models import OutgoingRequest
from outbound.transport import MAX_BYTES, MAX_CONNECTIONS, ask
from work import incidents
from work.attempts import NotNow

MAX_ANSWER_BYTES = MAX_BYTES
MAX_RETRY_AFTER = timedelta(hours=1)
RETENTION = timedelta(days=30)
DELETE_BATCH_SIZE = 500
# How much of what was sent and answered is kept, in characters.
MAX_STORED_LENGTH = 2000
# How many requests to one host a process makes at a time, so that a slow one does not keep all of its threads.
MAX_PER_HOST = MAX_CONNECTIONS


class HostBusy(OutgoingRequestError, NotNow):
    """Nothing was asked: as many requests as may be are on their way to the host."""


@dataclass(frozen=True, repr=False)
class Answer:
    status_code: int
    headers: Mapping[str, str]
    body: bytes  # at most MOST_BYTES of it
    is_cut: bool = False
    packing: str = ""  # what the body is still packed with, because we can't unpack it

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "").lower()

    def decode(self) -> str:
        """Return the text, by the charset that the content or the header declares. Raises Unreadable."""
        if self.packing:
            raise Unreadable(
                f"The answer is packed ({self.packing}). Send it unpacked; Accept-Encoding asks for that."
            )
        return decode(self.body, self.content_type)

    @property
    def text(self) -> str:
        """What it says, as far as can be read: also if it is not what it declares."""
        try:
            text = self.decode()
        except Unreadable:
            text = self.body.decode(errors="replace")
        # Of UTF-16 that is taken for UTF-8 the NUL between two letters would hide codes from whoever masks them.
        return storable(text.replace("\0", ""))

    def as_it_came(self) -> dict[str, Any]:
        """What a OutgoingRequest keeps of an answer that holds no secrets."""
        return {"answer": self.text[:MAX_STORED_LENGTH]}

    @property
    def retry_after(self) -> timedelta:
        """How long the other side asks us to wait, as seconds or until a date; an hour at most."""
        asked = self.headers.get("Retry-After", "").strip()
        if re.fullmatch("[0-9]{1,9}", asked):
            wait = timedelta(seconds=int(asked))
        else:
            try:
                wait = parsedate_to_datetime(asked) - timezone.now()
            except (ValueError, TypeError, OverflowError):  # no date, or one without its zone
                wait = timedelta(0)
        return min(max(wait, timedelta(0)), MAX_RETRY_AFTER)


def call(
    merchant: Merchant,
    method: str,
    url: str,
    *,
    body: bytes = b"",
    headers: Mapping[str, str],
    kept: str = "",
    kept_url: str = "",
    timeout: float,
    trusted: bool = False,
    has_slot: bool = False,
    read: Callable[[Answer], dict[str, Any]] = Answer.as_it_came,
    **fields: Any,
) -> Answer:
    """Send one request and record it as an OutgoingRequest with these fields, whether or not it succeeds.

    `kept` is the part of the body that may be recorded, `kept_url` the address to record if its path holds a secret.
    `read` returns the fields that record the answer. A `trusted` address comes from settings, so its host is not
    checked. `has_slot`: the caller already holds a `slot` of the host.

    Redirects are not followed. An answer longer than MAX_ANSWER_BYTES is cut; one that is incomplete after `timeout`
    seconds counts as none. Raises OutgoingRequestError; HostBusy leaves no record. Never call it inside a transaction.
    """
    with nullcontext() if has_slot else slot(url):
        address = (kept_url or url).partition("?")[0][:2000]
        row = OutgoingRequest.objects.create(
            merchant=merchant, method=method, url=address, sent=kept[:MAX_STORED_LENGTH], **fields
        )
        started = monotonic()
        outcome: dict[str, Any] = {}
        try:
            answer = _unpacked(
                *ask(merchant.pk, method, parse(url), body=body, headers=headers, timeout=timeout, trusted=trusted)
            )
            outcome = {"status_code": answer.status_code}
            outcome |= read(answer)
            return answer
        except OutgoingRequestError as error:
            kind = OutgoingRequest.Outcome.TEMPORARY if error.temporary else OutgoingRequest.Outcome.FATAL
            outcome = {"outcome": kind, "error": str(error)[:500]}
            raise
        except Exception as error:
            message = incidents.sentence(error, f"{method} {address}")
            outcome |= {"outcome": OutgoingRequest.Outcome.TEMPORARY, "error": message}
            raise
        finally:
            milliseconds = round((monotonic() - started) * 1000)
            OutgoingRequest.objects.filter(pk=row.pk).update(milliseconds=milliseconds, **outcome)


_slots: dict[str, BoundedSemaphore] = {}


@contextmanager
def slot(url: str) -> Iterator[None]:
    """Be one of the few that make requests to the host: for one, or for several in a row. Raises HostBusy."""
    host = re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0].lower()
    free = _slots.setdefault(host, BoundedSemaphore(MAX_PER_HOST))
    if not free.acquire(blocking=False):
        raise HostBusy(f"{MAX_PER_HOST} requests to {host} are on their way; this one waits for its turn.")
    try:
        yield
    finally:
        free.release()


def _unpacked(status_code: int, headers: Mapping[str, str], packed: bytes) -> Answer:
    """Some servers pack answers although we ask them not to. A small answer must not become a large one."""
    body, packing = unpack(packed, headers.get("Content-Encoding", ""), limit=MAX_ANSWER_BYTES + 1)
    is_cut = max(len(packed), len(body)) > MAX_ANSWER_BYTES
    return Answer(status_code, headers, body[:MAX_ANSWER_BYTES], is_cut, packing)


def purge() -> None:
    """Forget some of the callouts that are old."""
    old = OutgoingRequest.objects.filter(called_at__lt=Now() - RETENTION).order_by("called_at")
    OutgoingRequest.objects.filter(pk__in=old.values("pk")[:DELETE_BATCH_SIZE]).delete()
