"""Connections are reused, and nothing leaks from one request to another."""

import gzip
import os
import socket
import ssl
from contextlib import suppress
from queue import Empty, Queue
from threading import Thread
from time import monotonic, sleep

import pytest

from merchants.models import Merchant
from outbound import address_guard, transport
from outbound.address_guard import OutgoingRequestFailed, OutgoingRequestRefused, OutgoingRequestTimeout
from outbound.outgoing_requests import call


def answer(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Server:
    """Answers each request with the next item of `answers`, on persistent connections."""

    def __init__(self, tls: ssl.SSLContext | None):
        self.tls = tls
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.answers: list = []
        self.requests: list[tuple[int, bytes]] = []  # each with its connection's number
        self.connections: list[socket.socket] = []
        self.ended: Queue[int] = Queue()
        Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with suppress(OSError):
            while True:
                connection, _ = self.server.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.tls:
                    connection = self.tls.wrap_socket(connection, server_side=True)
                self.connections.append(connection)
                Thread(target=self.serve, args=[connection, len(self.connections)], daemon=True).start()

    def serve(self, connection, number):
        with suppress(OSError):
            while request := self.read(connection):
                self.requests.append((number, request))
                response = self.answers.pop(0) if self.answers else answer(b"%d" % len(self.requests))
                if callable(response):
                    response(connection)
                else:
                    connection.sendall(response)
        connection.close()
        self.ended.put(number)

    @staticmethod
    def read(connection) -> bytes:
        request = b""
        while b"\r\n\r\n" not in request:
            if not (more := connection.recv(65536)):
                return b""
            request += more
        head, _, body = request.partition(b"\r\n\r\n")
        length = int((head.partition(b"Content-Length: ")[2] or b"0").split(b"\r\n")[0])
        while len(body) < length:
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body

    def stop(self):
        self.server.close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture(params=["https", "http"])
def scheme(request):
    return request.param


@pytest.fixture
def server(scheme, tls, loopback_allowed, dns, monkeypatch):
    monkeypatch.setattr(address_guard, "TLS", ssl.create_default_context(cafile=tls[1]))
    dns("shop.example", ["127.0.0.1"])
    server = Server(tls[0] if scheme == "https" else None)
    yield server
    server.stop()


@pytest.fixture
def post(merchant, scheme, server):
    def post(path="/hook", merchant=merchant, method="POST", timeout=5, body=b"{}", **options):
        url = f"{scheme}://shop.example:{server.port}{path}"
        return call(merchant, method, url, body=body, headers={}, timeout=timeout, **options)

    return post


def connection_numbers(server):
    return [number for number, _ in server.requests]


def test_the_next_request_uses_the_same_connection(post, server):
    assert [post().body for _ in range(3)] == [b"1", b"2", b"3"]

    assert connection_numbers(server) == [1, 1, 1]


def test_another_thread_uses_the_same_connection(post, server, merchant, scheme):
    url = transport.urlsplit(f"{scheme}://shop.example:{server.port}/")
    asking: dict = {"body": b"", "headers": {}, "timeout": 5, "trusted": False}
    for _ in range(2):
        thread = Thread(target=transport.ask, args=[merchant.pk, "GET", url], kwargs=asking)
        thread.start()
        thread.join()

    assert connection_numbers(server) == [1, 1]


def test_a_connection_belongs_to_one_merchant(post, server):
    post()
    post(merchant=Merchant.objects.create(name="Other", slug="other"))
    post(trusted=True)

    assert connection_numbers(server) == [1, 2, 3]


def test_a_closed_connection_is_replaced(post, server):
    post()
    server.connections[0].shutdown(socket.SHUT_RDWR)
    assert server.ended.get(timeout=10) == 1

    assert post().body == b"2"
    assert connection_numbers(server) == [1, 2]


def test_connection_close_ends_the_connection(post, server):
    server.answers = [answer(b"bye", b"Connection: close")]
    post()
    post()

    assert connection_numbers(server) == [1, 2]


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_request_that_may_have_arrived_is_not_repeated(post, server, method):
    post()
    server.answers = [lambda connection: connection.shutdown(socket.SHUT_RDWR)]

    with pytest.raises(OutgoingRequestFailed, match="connection closed without an answer"):
        post(method=method)

    assert connection_numbers(server) == [1, 1]


@pytest.mark.parametrize("size", [5, 12_000], ids=["in our buffer", "in the TLS buffer"])
def test_surplus_data_after_an_answer_is_discarded(post, server, size):
    server.answers = [answer(b"x" * size) + answer(b"another's")]

    assert post().body == b"x" * size
    assert post().body == b"2"
    assert connection_numbers(server) == [1, 2]


def test_data_that_arrives_before_the_next_request_is_discarded(post, server):
    post()
    server.connections[0].sendall(answer(b"another's"))
    server.answers = [lambda connection: connection.sendall(answer(b"its own"))]

    assert post().body == b"its own"


def test_a_cut_answer_ends_the_connection(post, server):
    server.answers = [answer(b"x" * 70_000)]

    assert post().is_cut
    assert post().body == b"2"
    assert connection_numbers(server) == [1, 2]


@pytest.mark.parametrize("limit", ["MAX_IDLE", "MAX_AGE"])
def test_a_connection_is_not_kept_for_long(post, server, monkeypatch, limit):
    monkeypatch.setattr(transport, limit, 0)
    post()
    post()

    assert connection_numbers(server) == [1, 2]


def test_a_name_is_resolved_again_when_a_connection_is_too_old(post, server, dns, monkeypatch):
    dns("shop.example", ["127.0.0.1"], ["10.0.0.1"])
    post()
    post()
    monkeypatch.setattr(transport, "MAX_AGE", 0)

    with pytest.raises(OutgoingRequestRefused):
        post()
    assert connection_numbers(server) == [1, 1]


def test_surplus_connections_are_closed(post, server, dns, monkeypatch):
    monkeypatch.setattr(transport, "MAX_SESSIONS", 1)
    post()
    other = Server(server.tls)
    first, server.port = server.port, other.port
    post()

    assert server.ended.get(timeout=10) == 1
    with pytest.raises(Empty):
        other.ended.get_nowait()
    server.port = first
    other.stop()


def test_a_forked_process_opens_its_own_connections(post, server):
    post()
    assert transport._sessions

    child = os.fork()
    if not child:
        os._exit(bool(transport._sessions))

    assert os.waitpid(child, 0)[1] == 0
    post()
    assert connection_numbers(server) == [1, 1]


def test_it_times_out_on_a_dripping_server_on_a_reused_connection(post, server):
    def drip(connection):
        for byte in answer(b"x" * 1000):
            connection.sendall(bytes([byte]))
            sleep(0.05)

    post()
    server.answers = [drip]
    started = monotonic()

    with pytest.raises(OutgoingRequestTimeout, match="didn’t answer within 0.4 seconds"):
        post(timeout=0.4)

    assert monotonic() - started < 3
    assert post().body == b"3"
    assert connection_numbers(server) == [1, 1, 2]


@pytest.mark.parametrize("scheme", ["https"], indirect=True)
def test_it_times_out_on_a_dripping_handshake(post, server):
    def drip(connection, **options):
        connection.sendall(b"\x16\x03\x03\x40\x00\x02")
        while True:
            connection.sendall(b"\0")
            sleep(0.05)

    server.tls = type("Slow", (), {"wrap_socket": staticmethod(drip)})
    started = monotonic()

    with pytest.raises(OutgoingRequestTimeout):
        post(timeout=0.4)

    assert monotonic() - started < 3


def test_cookies_are_not_kept(post, server):
    server.answers = [answer(b"", b"Set-Cookie: session=1; Path=/", b"Set-Cookie: order=2")]
    post()
    post()

    assert b"cookie" not in server.requests[1][1].lower()
    assert not any(session.cookies for session in transport._sessions.values())
    assert connection_numbers(server) == [1, 1]


def test_the_limit_on_answers_applies_to_redirects(post, server):
    compressed = gzip.compress(b"x" * 1_000_000)
    head = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Encoding: gzip\r\n"
    server.answers = [
        head + b"Content-Length: %d\r\n\r\n" % len(compressed) + compressed,
        head + b"Content-Length: 9999999\r\n\r\n" + b"x" * 100_000,
    ]

    for _ in range(2):
        redirect = post()
        assert redirect.status_code == 302 and redirect.is_cut and len(redirect.body) == 64 * 1024


def test_a_url_is_sent_unchanged(post, server):
    path = "/a/../%7e/./b?x=100%&y={|}&z=%c3%a4%2F~"

    post(path)

    assert server.requests[0][1].startswith(b"POST " + path.encode() + b" HTTP/1.1\r\n")


def test_no_default_headers_of_requests_are_sent(post, server):
    post(body=b"")
    post(method="GET", body=b"")

    for (_, request), length in zip(server.requests, [{b"content-length"}, set()], strict=True):
        names = {line.partition(b":")[0].lower() for line in request.split(b"\r\n")[1:] if line}
        assert names == {b"host", b"user-agent", b"accept-encoding"} | length


def test_the_first_of_two_headers_counts(post, server):
    server.answers = [answer(b"", b"Retry-After: 7", b"Retry-After: 9", b"Content-Type: text/plain")]

    assert post().retry_after.total_seconds() == 7


def test_urls_are_not_logged(post, server, caplog):
    caplog.set_level("INFO")
    server.answers = [answer(b"", b"no header at all")]

    post("/hook?email=ada@example.com")

    assert "ada" not in caplog.text
