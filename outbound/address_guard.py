"""Keep requests to merchants' addresses on the public internet, away from our own networks (SSRF)."""

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
from django.utils.translation import gettext

from outbound.encodings import storable
from work.attempts import Failure

# Seconds to resolve a host that somebody enters in a form.
CHECK_TIMEOUT = 5

IPAddress = IPv4Address | IPv6Address
Endpoint = tuple[int, tuple[Any, ...]]  # address family and socket address

# The public part of IPv6, except for NOT_PUBLIC. NAT64 addresses contain an IPv4 address.
GLOBAL_UNICAST = IPv6Network("2000::/3")
NAT64 = IPv6Network("64:ff9b::/96")
# Python's `is_global` depends on its version. These come from IANA's registries of special-purpose addresses
# (https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry, November 2026): 6to4
# relays, protocol assignments and documentation. 168.63.129.16 is Azure's platform address for virtual machines.
NOT_PUBLIC = [
    ip_network(network)
    for network in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "2001::/23", "2002::/16", "3fff::/20")
]

TLS = ssl.create_default_context(cafile=certifi.where())


class OutgoingRequestError(Failure):
    """The request got no answer."""

    temporary = True


class OutgoingRequestRefused(OutgoingRequestError):
    """The address must not be called."""

    temporary = False


class OutgoingRequestFailed(OutgoingRequestError):
    """The server couldn't be reached or didn't speak HTTP."""


class OutgoingRequestTimeout(OutgoingRequestFailed):
    pass


def check(url: str) -> None:
    """Raise OutgoingRequestError if the URL must not be called or its host doesn't resolve."""
    target = parse(url)
    _resolve(str(target.hostname), port_of(target), CHECK_TIMEOUT, plain=target.scheme == "http")


def parse(url: str) -> SplitResult:
    """Parse a URL. Raises OutgoingRequestRefused if it must not be called, whatever its host resolves to."""
    if not re.fullmatch(r"[!-~]+", url):
        raise OutgoingRequestRefused(gettext("Use only ASCII characters without spaces. Encode others."))
    try:
        parts = urlsplit(url)
        port = port_of(parts)
    except ValueError as error:
        raise OutgoingRequestRefused(gettext("Enter a valid URL.")) from error
    if parts.scheme not in {"https", "http"}:
        raise OutgoingRequestRefused(gettext("The URL must start with https://."))
    if "@" in parts.netloc:
        raise OutgoingRequestRefused(gettext("The URL must not contain a user name or password."))
    if not re.fullmatch(r"[a-z0-9._:-]+", parts.hostname or ""):
        raise OutgoingRequestRefused(gettext("The URL has no valid host name."))
    if port not in {80, 443} and port < 1024:
        raise OutgoingRequestRefused(gettext("Port {port} is reserved. Use 443, or 1024 and above.").format(port=port))
    return parts


def port_of(url: SplitResult) -> int:
    if url.port is None:
        return 443 if url.scheme == "https" else 80
    return url.port


def connect(host: str, port: int, timeout: float, *, plain: bool = False, trusted: bool = False) -> socket.socket:
    """Open a connection to a merchant's host, at an address that was checked.

    The host is resolved once, so the checked address is the one connected to. `plain` is for unencrypted connections
    and allows only CALLOUT_NETWORKS. `trusted` allows any address and bypasses the proxy. Each read from the socket
    times out after `timeout` seconds. Raises OutgoingRequestError.
    """
    deadline = monotonic() + timeout
    problem = gettext("the host has no address")
    endpoints = _find(host, port, timeout) if trusted else _resolve(host, port, timeout, plain=plain)
    for left, (family, address) in zip(range(len(endpoints), 0, -1), endpoints, strict=True):
        # Share the time, so that an address that doesn't answer leaves some for the others.
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
    raise kind(gettext("Can’t connect to {host}: {problem}.").format(host=host, problem=problem))


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
    """Connect through CALLOUT_PROXY. It gets a checked address and no host name to resolve."""
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
    """Return the host's addresses. Raises OutgoingRequestRefused if any of them must not be called."""
    found = _find(host, port, timeout)
    addresses = [ip_address(address[0].partition("%")[0]) for _, address in found]
    if plain and not all(_is_inside(address) for address in addresses):
        raise OutgoingRequestRefused(gettext("The URL must start with https://."))
    if not all(_may_be_called(address) for address in addresses):
        raise OutgoingRequestRefused(
            gettext(
                "{host} isn’t on the public internet. To allow its network, the operator of this installation"
                " can add it to CALLOUT_NETWORKS."
            ).format(host=host)
        )
    return found


def _find(host: str, port: int, timeout: float) -> list[Endpoint]:
    try:
        return _look_up(host, port, timeout)
    except FutureTimeout as error:
        raise OutgoingRequestTimeout(gettext("Resolving {host} timed out.").format(host=host)) from error
    except (OSError, UnicodeError) as error:
        raise OutgoingRequestFailed(gettext("Can’t resolve {host}. Check the spelling.").format(host=host)) from error


def _look_up(host: str, port: int, timeout: float) -> list[Endpoint]:
    # In a thread, because the system's resolver has no timeout.
    executor = ThreadPoolExecutor(max_workers=1)
    try:
        answers = executor.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM).result(timeout)
    finally:
        executor.shutdown(wait=False)
    return [(family, address) for family, _, _, _, address in answers]


def _may_be_called(address: IPAddress) -> bool:
    return _is_inside(address) or _is_public(_inner(address))


def _is_inside(address: IPAddress) -> bool:
    """Whether the address is in CALLOUT_NETWORKS."""
    return any(_inner(address) in network for network in settings.CALLOUT_NETWORKS)


def _is_public(address: IPAddress) -> bool:
    if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST:
        return False
    if any(address in network for network in NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast


def _inner(address: IPAddress) -> IPAddress:
    """The IPv4 address that a mapped or NAT64 IPv6 address contains, or else the address itself."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in NAT64 else address


@contextmanager
def cut_after(seconds: float, line: socket.socket) -> Iterator[None]:
    """Cut the connection after this time, even if the other side keeps sending slowly."""
    # Duplicate the file descriptor, because wrapping the socket in TLS detaches it. TLS sockets have no `dup`.
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
        return gettext("invalid certificate ({verify_message})").format(verify_message=error.verify_message)
    if isinstance(error, TimeoutError):
        return gettext("timed out")
    if isinstance(error, RemoteDisconnected):
        return gettext("connection closed without an answer")
    if isinstance(error, IncompleteRead):
        return gettext("connection closed before the answer was complete")
    if isinstance(error, BadStatusLine | UnknownProtocol):
        return gettext("the answer isn’t HTTP")  # the error would quote the answer, which may contain a code
    return storable(getattr(error, "strerror", None) or str(error) or type(error).__name__).strip().rstrip(".")
