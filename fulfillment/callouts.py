"""Requests to addresses that merchants type in, so that none reaches what only we can reach.

Everything that goes to such an address goes through `call`, or, where it is not HTTP, through `connect`.
"""

import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import (
    BadStatusLine,
    HTTPConnection,
    HTTPException,
    HTTPResponse,
    IncompleteRead,
    RemoteDisconnected,
    UnknownProtocol,
    parse_headers,
)
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from threading import BoundedSemaphore, Timer
from time import monotonic
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import certifi
from django.conf import settings
from django.db.models.functions import Now
from django.utils import timezone

from fulfillment.encodings import Unreadable, decode, unpack
from fulfillment.models import Callout
from merchants.models import Merchant

# For finding a host's address when somebody types it in.
CHECKED_WITHIN = 5
MOST_BYTES = 64 * 1024
LONGEST_WAIT = timedelta(hours=1)
KEPT_FOR = timedelta(days=30)
DELETED_AT_ONCE = 500
# How much of what was sent and answered is kept, in characters.
KEPT = 2000
# How many requests to one host a process makes at a time, so that a slow one does not keep all of its threads.
AT_ONE_HOST = 4

IPAddress = IPv4Address | IPv6Address
Endpoint = tuple[int, tuple[Any, ...]]  # address family and address, as sockets take them

# Of IPv6 this alone is the internet, but for NOT_PUBLIC. In NAT64 an IPv4 address is reached through an IPv6 one.
GLOBAL_UNICAST = IPv6Network("2000::/3")
NAT64 = IPv6Network("64:ff9b::/96")
# Python's `is_global` depends on its version. This is what IANA's registries of special-purpose addresses hold besides
# (https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry, November 2026): relays
# of 6to4, all protocol assignments, documentation. And the address at which Azure serves its machines.
NOT_PUBLIC = [
    ip_network(network)
    for network in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "2001::/23", "2002::/16", "3fff::/20")
]

TLS = ssl.create_default_context(cafile=certifi.where())


class CalloutError(Exception):
    """There is no answer. The text is for the merchant."""

    temporary = True


class CalloutRefused(CalloutError):
    """It is not asked for: the address may not be called."""

    temporary = False


class CalloutBusy(CalloutError):
    """Nothing was asked: as many requests as may be are on their way to the host."""


class CalloutFailed(CalloutError):
    """The other side could not be reached, or did not speak HTTP."""


class CalloutTimeout(CalloutFailed):
    pass


@dataclass(frozen=True, repr=False)
class Answer:
    status_code: int
    headers: Message | Mapping[str, str]  # a Message finds them in whatever case
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
        """What a Callout keeps of an answer that holds no secrets."""
        return {"answer": self.text[:KEPT]}

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
        return min(max(wait, timedelta(0)), LONGEST_WAIT)


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
    """Make one request, and keep a Callout of it with these fields, whatever becomes of it.

    `kept` is what may be kept of what was sent, `kept_url` what of the address, if something in its path may not, and
    `read` gives the fields in which the Callout keeps the answer. A `trusted` address comes from settings, not from a
    merchant: it is called wherever it is. `has_slot`: the caller is in a `slot` of the host.

    Redirects are answers like any other. An answer that is longer than MOST_BYTES is cut; one that is not all there
    after `timeout` seconds is none. Raises CalloutError; of one that is CalloutBusy nothing is kept. Not to be called
    inside a transaction.
    """
    with nullcontext() if has_slot else slot(url):
        address = (kept_url or url).partition("?")[0][:2000]
        row = Callout.objects.create(merchant=merchant, method=method, url=address, sent=kept[:KEPT], **fields)
        started = monotonic()
        outcome: dict[str, Any] = {}
        try:
            answer = _ask(method, parse(url), body, headers, timeout, trusted)
            outcome = {"status_code": answer.status_code}
            outcome |= read(answer)
            return answer
        except CalloutError as error:
            kind = Callout.Outcome.TEMPORARY if error.temporary else Callout.Outcome.FATAL
            outcome = {"outcome": kind, "error": str(error)[:500]}
            raise
        except Exception:
            outcome |= {
                "outcome": Callout.Outcome.TEMPORARY,
                "error": "Something failed on our side; the log says what.",
            }
            raise
        finally:
            milliseconds = round((monotonic() - started) * 1000)
            Callout.objects.filter(pk=row.pk).update(milliseconds=milliseconds, **outcome)


_slots: dict[str, BoundedSemaphore] = {}


@contextmanager
def slot(url: str) -> Iterator[None]:
    """Be one of the few that make requests to the host: for one, or for several in a row. Raises CalloutBusy."""
    host = re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0].lower()
    free = _slots.setdefault(host, BoundedSemaphore(AT_ONE_HOST))
    if not free.acquire(blocking=False):
        raise CalloutBusy(f"{AT_ONE_HOST} requests to {host} are on their way; this one waits for its turn.")
    try:
        yield
    finally:
        free.release()


def check(url: str) -> None:
    """Raise CalloutError if the URL may not be called, or its host has no address at the moment."""
    target = parse(url)
    _resolve(str(target.hostname), _port(target), CHECKED_WITHIN, plain=target.scheme == "http")


def parse(url: str) -> SplitResult:
    """Take a URL apart. Raises CalloutRefused if it is none that may be called, wherever its host is."""
    if not re.fullmatch(r"[!-~]+", url):
        raise CalloutRefused("An address has no spaces and only ASCII characters; write others encoded.")
    try:
        parts = urlsplit(url)
        port = _port(parts)
    except ValueError as error:
        raise CalloutRefused("This is not a valid address.") from error
    if parts.scheme not in {"https", "http"}:
        raise CalloutRefused("The address must begin with https://.")
    if "@" in parts.netloc:
        raise CalloutRefused("The address must not hold a user name or password.")
    if not re.fullmatch(r"[a-z0-9._:-]+", parts.hostname or ""):
        raise CalloutRefused("The address has no valid host name.")
    if port not in {80, 443} and port < 1024:
        raise CalloutRefused(f"Port {port} is for other services; use 443, or one from 1024 on.")
    return parts


def _port(url: SplitResult) -> int:
    if url.port is None:
        return 443 if url.scheme == "https" else 80
    return url.port


def connect(host: str, port: int, timeout: float, *, plain: bool = False, trusted: bool = False) -> socket.socket:
    """Open a connection to a host that a merchant named, at an address that was looked at.

    The host is resolved once: what was looked at is what is connected to. With `plain` only CALLOUT_NETWORKS are
    reached, for what goes over the wire unencrypted; with `trusted` anything is, and never by the proxy. The socket
    waits `timeout` seconds for each answer. Raises CalloutError.
    """
    deadline = monotonic() + timeout
    problem = "it has no address"
    endpoints = _find(host, port, timeout) if trusted else _resolve(host, port, timeout, plain=plain)
    for left, (family, address) in zip(range(len(endpoints), 0, -1), endpoints, strict=True):
        # One that is silent leaves time for the others.
        patience = max((deadline - monotonic()) / left, 0.01)
        try:
            if settings.CALLOUT_PROXY and not (trusted or _is_inside(ip_address(address[0]))):
                connection = _connect_by_proxy(address, patience)
            else:
                connection = _connect(family, address, patience)
        except (OSError, HTTPException) as error:
            problem = _words(error)
        else:
            connection.settimeout(timeout)
            return connection
    kind = CalloutTimeout if monotonic() >= deadline else CalloutFailed
    raise kind(f"No connection to {host}: {problem}.")


def _connect(family: int, address: tuple[Any, ...], timeout: float) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def _connect_by_proxy(address: tuple[Any, ...], timeout: float) -> socket.socket:
    """Have CALLOUT_PROXY connect to an address, which was looked at: no name is left for it to resolve."""
    proxy = urlsplit(settings.CALLOUT_PROXY)
    tunnel = HTTPConnection(str(proxy.hostname), proxy.port or 3128, timeout=timeout)
    login = f"{unquote(proxy.username or '')}:{unquote(proxy.password or '')}".encode()
    headers = {"Proxy-Authorization": f"Basic {b64encode(login).decode()}"} if proxy.username else {}
    tunnel.set_tunnel(address[0], address[1], headers)
    try:
        tunnel.connect()
    except (OSError, HTTPException):
        tunnel.close()
        raise
    return tunnel.sock


def _resolve(host: str, port: int, timeout: float, *, plain: bool) -> list[Endpoint]:
    """The addresses of a host, if each of them may be called."""
    found = _find(host, port, timeout)
    addresses = [ip_address(address[0].partition("%")[0]) for _, address in found]
    if plain and not all(_is_inside(address) for address in addresses):
        raise CalloutRefused("The address must begin with https://.")
    if not all(_may_be_called(address) for address in addresses):
        raise CalloutRefused(
            f"{host} is not on the public internet, so it is not called. Whoever runs this installation of Keywell can"
            " allow its network in CALLOUT_NETWORKS."
        )
    return found


def _find(host: str, port: int, timeout: float) -> list[Endpoint]:
    try:
        return _look_up(host, port, timeout)
    except FutureTimeout as error:
        raise CalloutTimeout(f"The address of {host} was not found in time.") from error
    except (OSError, UnicodeError) as error:
        raise CalloutFailed(f"There is no address of {host}; is it spelled right?") from error


def _look_up(host: str, port: int, timeout: float) -> list[Endpoint]:
    # In a thread, for the system's resolver takes the time it likes.
    executor = ThreadPoolExecutor(max_workers=1)
    try:
        answers = executor.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM).result(timeout)
    finally:
        executor.shutdown(wait=False)
    return [(family, address) for family, _, _, _, address in answers]


def _may_be_called(address: IPAddress) -> bool:
    return _is_inside(address) or _is_public(_inner(address))


def _is_inside(address: IPAddress) -> bool:
    """Whether it is in a network that whoever runs the installation allows."""
    return any(_inner(address) in network for network in settings.CALLOUT_NETWORKS)


def _is_public(address: IPAddress) -> bool:
    if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST:
        return False
    if any(address in network for network in NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast


def _inner(address: IPAddress) -> IPAddress:
    """The IPv4 address that is reached by one of IPv6, if that is what it does."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in NAT64 else address


def _ask(
    method: str, url: SplitResult, body: bytes, headers: Mapping[str, str], timeout: float, trusted: bool
) -> Answer:
    deadline = monotonic() + timeout
    host, port, secure = str(url.hostname), _port(url), url.scheme == "https"
    line = connect(host, port, timeout, plain=not secure, trusted=trusted)
    try:
        with cut_after(deadline - monotonic(), line):
            # By its name the host is asked for, and has to show a certificate.
            stream = TLS.wrap_socket(line, server_hostname=host) if secure else line
            with stream:
                answer = _exchange(stream, method, url, body, headers)
    except (OSError, HTTPException) as error:
        if monotonic() < deadline:
            raise CalloutFailed(f"{host} gave no answer: {_words(error)}.") from error
        answer = None
    finally:
        line.close()
    if answer is None or monotonic() >= deadline:
        raise CalloutTimeout(f"{host} did not answer within {timeout:g} seconds.")
    return answer


class _Response(HTTPResponse):
    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]
        while 100 <= status < 200:
            # The answer is still to come.
            parse_headers(self.fp)
            version, status, reason = super()._read_status()  # type: ignore[misc]
        return version, status, reason

    def _read_next_chunk_size(self) -> int:
        size = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            # It would be read to the end, however much that is.
            raise ValueError("negative")
        return size


def _exchange(stream: socket.socket, method: str, url: SplitResult, body: bytes, headers: Mapping[str, str]) -> Answer:
    http = HTTPConnection(url.netloc)
    http.sock, http.response_class = stream, _Response
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    always = {"Host": url.netloc, "User-Agent": "Keywell", "Accept-Encoding": "identity"}
    http.request(method, target, body or None, {**headers, **always})
    response = http.getresponse()
    answer = response.read(MOST_BYTES + 1)
    if response.length and len(answer) <= MOST_BYTES:
        raise HTTPException("it broke off")
    return _unpacked(response, answer)


def _unpacked(response: HTTPResponse, packed: bytes) -> Answer:
    """Some servers pack answers although we ask them not to. A small answer must not become a large one."""
    body, packing = unpack(packed, response.headers.get("Content-Encoding", ""), limit=MOST_BYTES + 1)
    is_cut = max(len(packed), len(body)) > MOST_BYTES
    return Answer(response.status, response.headers, body[:MOST_BYTES], is_cut, packing)


@contextmanager
def cut_after(seconds: float, line: socket.socket) -> Iterator[None]:
    """Cut a connection when its time is over, however busily the other side drips."""
    # Of its own, for a TLS socket takes the other's place; what is shut down is the connection of both.
    handle = line.dup()
    timer = Timer(max(seconds, 0), _cut, [handle])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        handle.close()


def _cut(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return "it is silent"
    if isinstance(error, RemoteDisconnected):
        return "it hung up"
    if isinstance(error, IncompleteRead):
        return "it broke off"
    if isinstance(error, BadStatusLine | UnknownProtocol):
        return "it does not speak HTTP"  # which the error would quote, and there may be a code in it
    return storable(getattr(error, "strerror", None) or str(error) or type(error).__name__).strip().rstrip(".")


def purge() -> None:
    """Forget some of the callouts that are old."""
    old = Callout.objects.filter(called_at__lt=Now() - KEPT_FOR).order_by("called_at")
    Callout.objects.filter(pk__in=old.values("pk")[:DELETED_AT_ONCE]).delete()


def storable(text: str) -> str:
    """What another server said, as PostgreSQL takes it: without NUL, and without halves of surrogate pairs."""
    return text.replace("\0", "�").encode(errors="replace").decode()
