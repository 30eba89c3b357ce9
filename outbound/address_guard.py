"""What merchants' addresses may lead to: the internet, and no address that only we can reach."""

import os
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager, suppress
from http.client import (
    BadStatusLine,
    HTTPConnection,
    HTTPException,
    IncompleteRead,
    RemoteDisconnected,
    UnknownProtocol,
)
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from threading import Timer
from time import monotonic
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import certifi
from django.conf import settings

from outbound.encodings import storable
from work.attempts import Failure

# For finding a host's address when somebody types it in.
CHECKED_WITHIN = 5

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


class OutgoingRequestError(Failure):
    """There is no answer."""

    temporary = True


class OutgoingRequestRefused(OutgoingRequestError):
    """It is not asked for: the address may not be called."""

    temporary = False


class OutgoingRequestFailed(OutgoingRequestError):
    """The other side could not be reached, or did not speak HTTP."""


class OutgoingRequestTimeout(OutgoingRequestFailed):
    pass


def check(url: str) -> None:
    """Raise OutgoingRequestError if the URL may not be called, or its host has no address at the moment."""
    target = parse(url)
    _resolve(str(target.hostname), port_of(target), CHECKED_WITHIN, plain=target.scheme == "http")


def parse(url: str) -> SplitResult:
    """Take a URL apart. Raises OutgoingRequestRefused if it is none that may be called, wherever its host is."""
    if not re.fullmatch(r"[!-~]+", url):
        raise OutgoingRequestRefused("An address has no spaces and only ASCII characters; write others encoded.")
    try:
        parts = urlsplit(url)
        port = port_of(parts)
    except ValueError as error:
        raise OutgoingRequestRefused("This is not a valid address.") from error
    if parts.scheme not in {"https", "http"}:
        raise OutgoingRequestRefused("The address must begin with https://.")
    if "@" in parts.netloc:
        raise OutgoingRequestRefused("The address must not hold a user name or password.")
    if not re.fullmatch(r"[a-z0-9._:-]+", parts.hostname or ""):
        raise OutgoingRequestRefused("The address has no valid host name.")
    if port not in {80, 443} and port < 1024:
        raise OutgoingRequestRefused(f"Port {port} is for other services; use 443, or one from 1024 on.")
    return parts


def port_of(url: SplitResult) -> int:
    if url.port is None:
        return 443 if url.scheme == "https" else 80
    return url.port


def connect(host: str, port: int, timeout: float, *, plain: bool = False, trusted: bool = False) -> socket.socket:
    """Open a connection to a host that a merchant named, at an address that was looked at.

    The host is resolved once: what was looked at is what is connected to. With `plain` only CALLOUT_NETWORKS are
    reached, for what goes over the wire unencrypted; with `trusted` anything is, and never by the proxy. The socket
    waits `timeout` seconds for each answer. Raises OutgoingRequestError.
    """
    deadline = monotonic() + timeout
    problem = "it has no address"
    endpoints = _find(host, port, timeout) if trusted else _resolve(host, port, timeout, plain=plain)
    for left, (family, address) in zip(range(len(endpoints), 0, -1), endpoints, strict=True):
        # One that is silent leaves time for the others.
        timeout = max((deadline - monotonic()) / left, 0.01)
        try:
            if settings.CALLOUT_PROXY and not (trusted or _is_inside(ip_address(address[0]))):
                connection = _connect_by_proxy(address, timeout)
            else:
                connection = _connect(family, address, timeout)
        except (OSError, HTTPException) as error:
            problem = describe(error)
        else:
            connection.settimeout(timeout)
            return connection
    kind = OutgoingRequestTimeout if monotonic() >= deadline else OutgoingRequestFailed
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
        raise OutgoingRequestRefused("The address must begin with https://.")
    if not all(_may_be_called(address) for address in addresses):
        raise OutgoingRequestRefused(
            f"{host} is not on the public internet, so it is not called. Whoever runs this installation of Keywell can"
            " allow its network in CALLOUT_NETWORKS."
        )
    return found


def _find(host: str, port: int, timeout: float) -> list[Endpoint]:
    try:
        return _look_up(host, port, timeout)
    except FutureTimeout as error:
        raise OutgoingRequestTimeout(f"The address of {host} was not found in time.") from error
    except (OSError, UnicodeError) as error:
        raise OutgoingRequestFailed(f"There is no address of {host}; is it spelled right?") from error


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


@contextmanager
def cut_after(seconds: float, line: socket.socket) -> Iterator[None]:
    """Cut a connection when its time is over, however busily the other side drips."""
    # A copy outlives the socket whose place a TLS socket takes. `dup` is not for TLS sockets.
    handle = socket.socket(fileno=os.dup(line.fileno()))
    timer = Timer(max(seconds, 0), cut, [handle])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        handle.close()


def cut(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


def describe(error: BaseException) -> str:
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
