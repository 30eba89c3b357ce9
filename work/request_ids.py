"""The id of the request that caused what is happening now: logs, e-mails and webhooks carry it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from secrets import token_hex

HEADER = "X-Request-ID"
MAX_LENGTH = 64
WELL_FORMED = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_LENGTH - 1}}}")

_current: ContextVar[str] = ContextVar("request_id", default="")


def current_request_id() -> str:
    """Return the id that this thread works for; empty if it works for no request."""
    return _current.get()


def accept(given: str) -> str:
    """Return the client's id, or a new one if it is missing or malformed."""
    return given if WELL_FORMED.fullmatch(given) else token_hex(8)


@contextmanager
def working_for(request_id: str) -> Iterator[None]:
    token = _current.set(request_id)
    try:
        yield
    finally:
        _current.reset(token)
