"""HTTP requests to addresses that merchants enter. They can't reach our own networks.

All traffic to such addresses goes through `call` or, if it isn't HTTP, through `address_guard.connect`.
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
from django.utils.translation import gettext
from prometheus_client import Histogram

from merchants.models import Merchant
from outbound.address_guard import OutgoingRequestError, parse
from outbound.encodings import Unreadable, decode, storable, unpack
from outbound.models import OutgoingRequest
from outbound.transport import MAX_BYTES, MAX_CONNECTIONS, ask
from work import incidents, metrics
from work.attempts import NotNow
from work.retention import delete_in_batches
from work.stored_texts import in_english

MAX_ANSWER_BYTES = MAX_BYTES
MAX_RETRY_AFTER = timedelta(hours=1)
RETENTION = timedelta(days=30)
# Characters of a request and an answer that are stored.
MAX_STORED_LENGTH = 2000
# Concurrent requests of a process to one host, so that a slow host can't occupy all threads.
MAX_PER_HOST = MAX_CONNECTIONS


REQUEST_SECONDS = Histogram(
    "keywell_outgoing_request_seconds",
    "Requests to servers of merchants.",
    ["purpose", "outcome"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 30),
)


class HostBusy(OutgoingRequestError, NotNow):
    """The request wasn't sent because MAX_PER_HOST others to the host are in progress."""


@dataclass(frozen=True, repr=False)
class Answer:
    status_code: int
    headers: Mapping[str, str]
    body: bytes  # at most MAX_ANSWER_BYTES, unless the caller takes more
    is_cut: bool = False
    packing: str = ""  # a compression that we can't undo

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "").lower()

    def decode(self) -> str:
        """Decode with the charset that the content or the header declares. Raises Unreadable."""
        if self.packing:
            raise Unreadable(
                gettext(
                    "The answer is compressed ({packing}). Send it uncompressed, as our Accept-Encoding asks."
                ).format(packing=self.packing)
            )
        return decode(self.body, self.content_type)

    @property
    def text(self) -> str:
        """The decoded text, with replacement characters if it isn't in the declared charset."""
        try:
            text = self.decode()
        except Unreadable:
            text = self.body.decode(errors="replace")
        # In UTF-16 decoded as UTF-8, NULs between the letters would hide codes from masking.
        return storable(text.replace("\0", ""))

    def as_it_came(self) -> dict[str, Any]:
        """The OutgoingRequest fields for an answer without secrets."""
        return {"answer": self.text[:MAX_STORED_LENGTH]}

    @property
    def retry_after(self) -> timedelta:
        """How long the Retry-After header asks us to wait, at most an hour. It holds seconds or a date."""
        value = self.headers.get("Retry-After", "").strip()
        if re.fullmatch("[0-9]{1,9}", value):
            wait = timedelta(seconds=int(value))
        else:
            try:
                wait = parsedate_to_datetime(value) - timezone.now()
            except (ValueError, TypeError, OverflowError):  # not a date, or one without a time zone
                wait = timedelta(0)
        return min(max(wait, timedelta(0)), MAX_RETRY_AFTER)


def call(
    merchant: Merchant,
    method: str,
    url: str,
    *,
    body: bytes = b"",
    headers: Mapping[str, str],
    logged: str = "",
    logged_url: str = "",
    timeout: float,
    trusted: bool = False,
    has_slot: bool = False,
    max_bytes: int = MAX_ANSWER_BYTES,
    read: Callable[[Answer], dict[str, Any]] = Answer.as_it_came,
    **fields: Any,
) -> Answer:
    """Send one request and record it as an OutgoingRequest with these fields, whether or not it succeeds.

    `logged` is the masked body to record, `logged_url` the URL to record if the real one holds a secret. `read`
    returns the fields that record the answer. A `trusted` address comes from settings, so its host isn't checked.
    With `has_slot` the caller already holds a `slot` of the host.

    Redirects aren't followed. Answers are cut at `max_bytes`. One that is incomplete after `timeout` seconds
    counts as none. Raises OutgoingRequestError, and HostBusy without a record. Never call it inside a transaction.
    """
    with in_english(), nullcontext() if has_slot else slot(url):
        address = (logged_url or url).partition("?")[0][:2000]
        row = OutgoingRequest.objects.create(
            merchant=merchant, method=method, url=address, sent=logged[:MAX_STORED_LENGTH], **fields
        )
        started = monotonic()
        outcome: dict[str, Any] = {}
        try:
            limits: dict[str, Any] = {"timeout": timeout, "max_bytes": max_bytes}
            raw = ask(merchant.pk, method, parse(url), body=body, headers=headers, trusted=trusted, **limits)
            answer = _unpacked(*raw, max_bytes=max_bytes)
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
            seconds = monotonic() - started
            milliseconds = round(seconds * 1000)
            metrics.observe(REQUEST_SECONDS, seconds, "source" if row.upstream_id else "webhook", _result(outcome))
            OutgoingRequest.objects.filter(pk=row.pk).update(milliseconds=milliseconds, **outcome)


def _result(outcome: Mapping[str, Any]) -> str:
    """Sum up an outcome in one word: the vendor's verdict, otherwise the class of the status."""
    status = outcome.get("status_code")
    return str(outcome.get("outcome") or (f"{status // 100}xx" if status else OutgoingRequest.Outcome.TEMPORARY))


_slots: dict[str, BoundedSemaphore] = {}


@contextmanager
def slot(url: str) -> Iterator[None]:
    """Hold one of the host's MAX_PER_HOST slots, for one request or several in a row. Raises HostBusy."""
    host = re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0].lower()
    free = _slots.setdefault(host, BoundedSemaphore(MAX_PER_HOST))
    if not free.acquire(blocking=False):
        raise HostBusy(
            gettext("Waiting, because {max_per_host} other requests to {host} are in progress.").format(
                max_per_host=MAX_PER_HOST, host=host
            )
        )
    try:
        yield
    finally:
        free.release()


def _unpacked(status_code: int, headers: Mapping[str, str], packed: bytes, *, max_bytes: int) -> Answer:
    """Decompress, because some servers ignore Accept-Encoding. The limit stops decompression bombs."""
    body, packing = unpack(packed, headers.get("Content-Encoding", ""), limit=max_bytes + 1)
    is_cut = max(len(packed), len(body)) > max_bytes
    return Answer(status_code, headers, body[:max_bytes], is_cut, packing)


def purge() -> None:
    delete_in_batches(OutgoingRequest.objects.filter(called_at__lt=Now() - RETENTION).order_by("called_at"))
