"""HTTP with `requests`, over keep-alive connections that the address guard opens."""

import os
import socket
from collections.abc import Hashable, Mapping
from contextlib import ExitStack, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, IncompleteRead
from http.cookiejar import DefaultCookiePolicy
from io import BufferedReader
from operator import attrgetter
from time import monotonic
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.utils.translation import gettext
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from requests.exceptions import RequestException
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPConnectionPool, Retry
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, SSLError

from outbound import address_guard
from outbound.address_guard import OutgoingRequestFailed, OutgoingRequestTimeout, cut, cut_after, describe, port_of

MAX_BYTES = 64 * 1024
# Per process and host.
MAX_CONNECTIONS = 4
MAX_SESSIONS = 64
# Seconds. Many servers close idle connections after five, and a request at that moment would fail.
MAX_IDLE = 4
# Seconds after which even a busy connection is closed, so that the host is resolved and checked again.
MAX_AGE = 60

RawAnswer = tuple[int, Mapping[str, str], bytes]


@dataclass
class _Exchange:
    """Passes what requests and urllib3 don't hand through to the connection."""

    url: SplitResult
    trusted: bool
    deadline: float
    limits: ExitStack

    @property
    def target(self) -> str:
        return (self.url.path or "/") + (f"?{self.url.query}" if self.url.query else "")

    def limit(self, line: socket.socket) -> None:
        self.limits.enter_context(cut_after(self.deadline - monotonic(), line))


_under_way: ContextVar[_Exchange] = ContextVar("exchange")


class _Reader(BufferedReader):
    def __init__(self, line: socket.socket) -> None:
        super().__init__(line.makefile("rb", buffering=0))
        self.line = line

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            # A negative chunk size would read until the end without a limit.
            raise IncompleteRead(b"")
        return super().read(size)

    def close(self) -> None:
        """Cut the connection if extra bytes arrived, which would be taken for the answer to the next request."""
        if not self.closed:
            with suppress(OSError):
                self.line.settimeout(0)
                if self.peek(1):
                    cut(self.line)
        super().close()


class _Response(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.fp = _Reader(sock)

    def begin(self) -> None:
        super().begin()
        while 100 <= self.status < 200:
            # An informational response. The final one follows.
            self.headers = None  # type: ignore[assignment]
            super().begin()


class _Connection(HTTPConnection):
    response_class = _Response
    opened_at = used_at = 0.0

    def _new_conn(self) -> socket.socket:
        exchange = _under_way.get()
        host, secure = str(exchange.url.hostname), exchange.url.scheme == "https"
        left = exchange.deadline - monotonic()
        line = address_guard.connect(host, port_of(exchange.url), left, plain=not secure, trusted=exchange.trusted)
        exchange.limit(line)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.opened_at = monotonic()
        if not secure:
            return line
        try:
            # The certificate must match the host name, although we connect to an address.
            return address_guard.TLS.wrap_socket(line, server_hostname=host)
        except OSError as error:
            raise SSLError(error) from error

    def request(self, method: str, url: str, *args: Any, **options: Any) -> None:
        exchange = _under_way.get()
        if self.sock:
            exchange.limit(self.sock)
        self.used_at = monotonic()
        # The target exactly as the merchant entered it. urllib3 would normalize it.
        super().request(method, exchange.target, *args, **options)

    @property
    def is_connected(self) -> bool:
        """Whether the connection can be reused. Not if it was closed or received unexpected bytes."""
        now = monotonic()
        return now - self.used_at < MAX_IDLE and now - self.opened_at < MAX_AGE and super().is_connected


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _Pool}

    def build_connection_pool_key_attributes(self, request: PreparedRequest, *args: Any, **options: Any) -> Any:
        url = urlsplit(str(request.url))
        return {"scheme": url.scheme, "host": url.hostname, "port": port_of(url)}, {}

    def cert_verify(self, *args: Any) -> None:
        """Done by the connection."""


class _Session(Session):
    def __init__(self, key: Hashable) -> None:
        super().__init__()
        self.key, self.used_at = key, monotonic()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Never retries, because the first request may have arrived.
        adapter = _Adapter(pool_connections=1, pool_maxsize=MAX_CONNECTIONS, max_retries=Retry(False))
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def get_redirect_target(self, resp: Response) -> None:
        """Ignore redirects. To prepare the next request, requests would read and decompress the whole answer."""


_sessions: dict[Hashable, _Session] = {}
os.register_at_fork(after_in_child=_sessions.clear)


def _session_for(key: Hashable) -> _Session:
    session = _sessions.get(key) or _sessions.setdefault(key, _Session(key))
    session.used_at = now = monotonic()
    for other in sorted(_sessions.values(), key=attrgetter("used_at")):
        if now - other.used_at > MAX_IDLE or len(_sessions) > MAX_SESSIONS:
            # Its connections close when no thread uses it anymore.
            _sessions.pop(other.key, None)
    return session


def ask(
    owner: Hashable,
    method: str,
    url: SplitResult,
    *,
    body: bytes,
    headers: Mapping[str, str],
    timeout: float,
    trusted: bool,
    max_bytes: int = MAX_BYTES,
) -> RawAnswer:
    """Send one request. Return status, headers and body, which exceeds `max_bytes` by one byte if it is longer.

    Connections are shared only between requests of the same owner. Raises OutgoingRequestError.
    """
    deadline = monotonic() + timeout
    session = _session_for((owner, url.scheme, url.netloc.lower(), trusted))
    answer = None
    with ExitStack() as limits:
        token = _under_way.set(_Exchange(url, trusted, deadline, limits))
        try:
            answer = _exchange(session, _prepare(method, url, body, headers), timeout, max_bytes)
        except (OSError, HTTPException, HTTPError) as error:
            if monotonic() < deadline:
                raise OutgoingRequestFailed(
                    gettext("No answer from {hostname}: {error}.").format(
                        hostname=url.hostname, error=describe(_unwrap(error))
                    )
                ) from error
        finally:
            _under_way.reset(token)
    if answer is None or monotonic() >= deadline:
        raise OutgoingRequestTimeout(
            gettext("{hostname} didn’t answer within {timeout:g} seconds.").format(
                hostname=url.hostname, timeout=timeout
            )
        )
    return answer


def _prepare(method: str, url: SplitResult, body: bytes, headers: Mapping[str, str]) -> PreparedRequest:
    """Build the request without `prepare_url`, which would normalize the URL."""
    always = {"Host": url.netloc, "User-Agent": "Keywell", "Accept-Encoding": "identity"}
    if body:
        always["Content-Length"] = str(len(body))
    request = PreparedRequest()
    request.method, request.url, request.body = method, url.geturl(), body or None
    request.headers = CaseInsensitiveDict({**headers, **always})
    return request


def _exchange(session: _Session, request: PreparedRequest, timeout: float, max_bytes: int) -> RawAnswer:
    with session.send(request, stream=True, timeout=timeout, allow_redirects=False) as response:
        raw = response.raw
        body = raw.read(max_bytes + 1, decode_content=False)
        if raw.length_remaining and len(body) <= max_bytes:
            raise HTTPException(gettext("connection closed before the answer was complete"))
        first = {name: raw.headers.getlist(name)[0] for name in raw.headers}
        return response.status_code, CaseInsensitiveDict(first), body


def _unwrap(error: BaseException) -> BaseException:
    """The original error inside those of requests and urllib3."""
    while isinstance(error, RequestException | HTTPError) and error.__context__:
        error = error.__context__
    return error
