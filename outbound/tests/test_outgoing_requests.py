"""Requests to URLs that merchants enter reach the public internet and nothing else."""

import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Thread
from time import monotonic, sleep

import pytest
from django.utils import timezone

from outbound import address_guard, outgoing_requests
from outbound.address_guard import (
    OutgoingRequestError,
    OutgoingRequestFailed,
    OutgoingRequestRefused,
    OutgoingRequestTimeout,
    check,
    connect,
)
from outbound.models import OutgoingRequest
from outbound.outgoing_requests import Answer, call
from outbound.tests.receiver import Receiver

PUBLIC = "93.184.216.34"


@pytest.fixture(autouse=True)
def no_dns_lookups(dns):
    """Keep the tests from asking a name server."""


@pytest.fixture
def post(merchant):
    def post(url, body=b"{}", timeout=5, **options):
        headers = {"Content-Type": "application/json"}
        return call(merchant, "POST", url, body=body, headers=headers, timeout=timeout, **options)

    return post


# Allowed addresses


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",  # decimal
        "0177.0.0.1",  # octal
        "0x7f.0.0.1",
        "0",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",  # behind a carrier's NAT
        "169.254.169.254",  # cloud metadata, which contains secrets
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "[::]",
        "[::1]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::127.0.0.1]",  # NAT64
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::1]",
        "[2002:7f00:1::1]",  # 6to4
        "[2001:0:7f00:1::]",  # Teredo, its server
        "[2001:0:5db8:d822:0:0:80ff:fffe]",  # Teredo, its client: 127.0.0.1
        "[fe80::1]",
        "[fc00::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[2001:db8::1]",
    ],
)
def test_it_rejects_addresses_outside_the_public_internet(host):
    with pytest.raises(OutgoingRequestRefused, match="isn’t on the public internet.*CALLOUT_NETWORKS"):
        check(f"https://{host}/")


@pytest.mark.parametrize(
    "host", ["93.184.216.34", "[2606:2800:220:1:248:1893:25c8:1946]", "[64:ff9b::5db8:d822]", "[::ffff:5db8:d822]"]
)
def test_it_accepts_public_addresses(host):
    check(f"https://{host}/")
    check(f"https://{host}:8443/hook?shop=1")


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("", "spaces"),
        ("https://93.184.216.34/a b", "spaces"),
        ("https://93.184.216.34/\r\nX: 1", "spaces"),
        ("https://①②⑦.⓪.⓪.①/", "ASCII"),
        ("https://１２７.0.0.1/", "ASCII"),
        ("http://93.184.216.34/", "start with https://"),
        ("ftp://93.184.216.34/", "start with https://"),
        ("file:///etc/passwd", "start with https://"),
        ("93.184.216.34", "start with https://"),
        ("https://ada:secret@93.184.216.34/", "user name"),
        (r"https://93.184.216.34\@127.0.0.1/", "user name"),
        ("https:///hook", "host name"),
        ("https://[fe80::1%25eth0]/", "host name"),
        (r"https://93.184.216.34\.example/", "host name"),
        ("https://93.184.216.34:25/", "Port 25"),
        ("https://93.184.216.34:0/", "Port 0"),
        ("https://93.184.216.34:99999/", "Enter a valid URL"),
        ("https://[::1/", "Enter a valid URL"),
    ],
)
def test_it_rejects_invalid_urls(url, error):
    with pytest.raises(OutgoingRequestRefused, match=error):
        check(url)


def test_it_rejects_a_name_with_any_internal_address(dns):
    dns("mixed.example", [PUBLIC, "10.0.0.1"])

    with pytest.raises(OutgoingRequestRefused):
        check("https://mixed.example/")


@pytest.mark.parametrize("host", ["nobody.example", "a" * 64 + ".example", "double..dot"])
def test_an_unresolvable_name_is_a_temporary_error(host):
    with pytest.raises(OutgoingRequestFailed, match="Can’t resolve") as caught:
        check(f"https://{host}/")
    assert caught.value.temporary and not OutgoingRequestRefused.temporary


def test_a_name_is_resolved_once(dns, post, receiver):
    other_receiver = Receiver()
    dns("rebinding.example", ["127.0.0.1"], ["127.0.0.2"])

    assert post(f"http://rebinding.example:{receiver.port}/").status_code == 200

    assert receiver.received[0].headers["host"] == f"rebinding.example:{receiver.port}"
    other_receiver.stop()


def test_it_rejects_a_name_that_resolves_to_an_internal_address_after_the_check(dns, post):
    server = socket.create_server(("127.0.0.1", 0))
    url = f"https://rebinding.example:{server.getsockname()[1]}/"
    dns("rebinding.example", [PUBLIC], ["127.0.0.1"])
    check(url)

    with pytest.raises(OutgoingRequestRefused):
        post(url)

    server.settimeout(0.1)
    with pytest.raises(TimeoutError):
        server.accept()
    assert "isn’t on the public internet" in OutgoingRequest.objects.get().error


def test_other_protocols_use_the_same_guard(dns, loopback_allowed):
    server = socket.create_server(("127.0.0.1", 0))
    dns("mail.example", ["127.0.0.1"])

    with connect("mail.example", server.getsockname()[1], 5) as line:
        assert line.getpeername() == server.getsockname()
    with pytest.raises(OutgoingRequestRefused):
        connect("10.0.0.1", 25, 5)


def test_the_next_address_is_tried_when_one_is_dead(dns, post, receiver):
    dns("two.example", ["127.0.0.2", "127.0.0.1"])

    assert post(f"http://two.example:{receiver.port}/").status_code == 200


def test_internal_networks_can_be_allowed(settings, loopback_allowed):
    check("https://127.0.0.1/")
    check("http://127.0.0.1/")
    check("https://[::ffff:127.0.0.1]/")
    for host in ("10.0.0.1", "[2002:7f00:1::1]"):
        with pytest.raises(OutgoingRequestRefused):
            check(f"https://{host}/")


def test_unencrypted_requests_only_go_to_internal_addresses(dns, loopback_allowed):
    dns("mixed.example", [PUBLIC, "127.0.0.1"])

    for host in (PUBLIC, "mixed.example"):
        check(f"https://{host}/")
        with pytest.raises(OutgoingRequestRefused, match="start with https://"):
            check(f"http://{host}/")


def test_redirects_are_not_followed(post, receiver):
    receiver.respond = lambda received: (302, {"Location": "http://169.254.169.254/latest/meta-data/"})

    assert post(receiver.url).status_code == 302
    assert len(receiver.received) == 1


def test_proxies_and_passwords_from_the_environment_are_ignored(post, receiver, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert post(receiver.url).status_code == 200
    assert "authorization" not in receiver.received[0].headers


# TLS


@pytest.fixture
def secure_receiver(tls, loopback_allowed):
    receiver = Receiver(tls[0])
    yield receiver
    receiver.stop()


def test_the_certificate_must_match_the_host_name(post, secure_receiver, tls, dns, monkeypatch):
    monkeypatch.setattr(address_guard, "TLS", ssl.create_default_context(cafile=tls[1]))
    dns("shop.example", ["127.0.0.1"])
    dns("other.example", ["127.0.0.1"])

    assert post(f"https://shop.example:{secure_receiver.port}/").status_code == 200
    with pytest.raises(OutgoingRequestFailed, match="invalid certificate.*mismatch"):
        post(f"https://other.example:{secure_receiver.port}/")


def test_it_rejects_a_self_signed_certificate(post, secure_receiver, dns):
    dns("shop.example", ["127.0.0.1"])

    with pytest.raises(OutgoingRequestFailed, match="invalid certificate.*self-signed"):
        post(f"https://shop.example:{secure_receiver.port}/")
    assert secure_receiver.received == []


# Answers


def test_a_long_answer_is_cut(post, receiver):
    receiver.respond = lambda received: (200, {}, b"x" * 1_000_000)

    assert len(post(receiver.url).body) == 64 * 1024
    assert len(OutgoingRequest.objects.get().answer) == outgoing_requests.MAX_STORED_LENGTH


def test_it_asks_for_uncompressed_answers(post, receiver):
    post(receiver.url)

    assert receiver.received[0].headers["accept-encoding"] == "identity"


@pytest.fixture
def serve():
    """Start a server that passes its only connection to `handle`; return its URL."""

    def serve(handle):
        server = socket.create_server(("127.0.0.1", 0))

        def run():
            connection, _ = server.accept()
            with connection, server:
                connection.recv(65536)
                handle(connection)

        Thread(target=run, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}/"

    return serve


def drip(connection, start):
    connection.sendall(start)
    try:
        while True:
            connection.sendall(b"x")
            sleep(0.05)
    except OSError:
        pass


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Long: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
    ],
    ids=["status", "header", "body", "endless"],
)
def test_it_times_out_on_a_slowly_dripping_server(post, serve, loopback_allowed, start):
    url = serve(lambda connection: drip(connection, start))
    started = monotonic()

    with pytest.raises(OutgoingRequestTimeout, match="didn’t answer within 0.4 seconds"):
        post(url, timeout=0.4)

    assert monotonic() - started < 3


def test_it_times_out_on_a_silent_server(post, serve, loopback_allowed):
    def listen(connection):
        while connection.recv(65536):
            pass

    with pytest.raises(OutgoingRequestTimeout):
        post(serve(listen), timeout=0.2)


def test_it_times_out_on_a_slow_resolver(post, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: sleep(1))

    with pytest.raises(OutgoingRequestTimeout, match="timed out"):
        post("https://slow.example/", timeout=0.1)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/\0 \xff\0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf a key",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhalf",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
    ids=[
        "nothing",
        "no HTTP",
        "garbage",
        "half",
        "half a chunk",
        "no chunk",
        "many headers",
        "a long header",
    ],
)
def test_an_incomplete_answer_is_an_error(post, serve, loopback_allowed, answer):
    with pytest.raises(OutgoingRequestFailed, match="No answer from"):
        post(serve(lambda connection: connection.sendall(answer)))


def test_an_endless_chunk_is_not_read(post, serve, loopback_allowed):
    sent: list[int] = []

    def flood(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")
        with suppress(OSError):
            while len(sent) < 100:
                connection.sendall(b"x" * 2**20)
                sent.append(1)

    with pytest.raises(OutgoingRequestFailed, match="connection closed before the answer was complete"):
        post(serve(flood))

    assert len(sent) < 50


def test_informational_responses_are_skipped(post, serve, loopback_allowed):
    hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </key>\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\na key"

    assert post(serve(lambda connection: connection.sendall(hints + answer))).body == b"a key"


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("99999999", 3600),
        ("9" * 5000, 0),
        ("-5", 0),
        ("soon", 0),
        ("", 0),
        (format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True), 0),
        ("Wed, 01 Jan 2020 00:00:00 -0000", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
    ],
)
def test_it_reads_retry_after(retry_after, seconds):
    assert Answer(503, {"Retry-After": retry_after}, b"").retry_after == timedelta(seconds=seconds)


def test_it_reads_a_date_in_retry_after():
    until = format_datetime(timezone.now() + timedelta(minutes=10), usegmt=True)

    wait = Answer(503, {"Retry-After": until}, b"").retry_after

    assert wait.total_seconds() == pytest.approx(600, abs=30)


# The log


def test_each_request_is_recorded(post, receiver, merchant):
    receiver.respond = lambda received: (418, {}, b"short \0 and stout \xff")

    post(receiver.url + "?token=secret", b"all of it", logged="what may be kept", attempt=3)

    outgoing_request = OutgoingRequest.objects.get()
    assert receiver.received[0].path == "/hook?token=secret"
    assert (outgoing_request.merchant, outgoing_request.method, outgoing_request.attempt) == (merchant, "POST", 3)
    assert (outgoing_request.url, outgoing_request.sent) == (receiver.url, "what may be kept")
    assert (outgoing_request.status_code, outgoing_request.answer, outgoing_request.error) == (
        418,
        "short  and stout �",
        "",
    )
    assert outgoing_request.milliseconds is not None


def test_a_failed_request_is_recorded(post, loopback_allowed):
    with pytest.raises(OutgoingRequestError) as caught:
        post("http://127.0.0.1:9999/")

    outgoing_request = OutgoingRequest.objects.get()
    assert outgoing_request.error == str(caught.value) == "Can’t connect to 127.0.0.1: Connection refused."
    assert outgoing_request.status_code is None and outgoing_request.milliseconds is not None


def test_a_request_is_recorded_even_if_the_process_dies(post, receiver, monkeypatch):
    def die(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(outgoing_requests, "ask", die)

    with pytest.raises(KeyboardInterrupt):
        post(receiver.url)
    assert OutgoingRequest.objects.get().status_code is None
