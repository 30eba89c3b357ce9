"""The web server: slow clients keep nobody waiting, and a stop finishes what is under way."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from waitress.adjustments import Adjustments

from runtime import web
from runtime.supervisor import die_with_parent
from runtime.tests.installation import PROJECT, TIMEOUT, descendants, free_port, wait_until
from runtime.web import MeteredRequest


class WebServer:
    """One process with one thread: whatever holds that thread keeps everybody waiting."""

    def __init__(self, folder, processes=1):
        self.port = free_port()
        self.gate = folder / "gate"
        command = [sys.executable, "-m", "runtime.web", "--application", "runtime.tests.slow_application"]
        command += ["--address", f"127.0.0.1:{self.port}", "--processes", str(processes), "--threads", "1"]
        environment = os.environ | {"GATE": str(self.gate)}
        prepare = die_with_parent(signal.SIGTERM)
        self.process = subprocess.Popen(command, cwd=PROJECT, env=environment, preexec_fn=prepare)
        wait_until(self.answers)

    def connect(self, content=b""):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)
        connection.sendall(content)
        return connection

    def get(self, path="/"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.read().decode(), response.headers["X-Process"]

    def answers(self):
        try:
            return self.get()
        except OSError:
            return False


@pytest.fixture
def server(tmp_path):
    server = WebServer(tmp_path)
    yield server
    server.process.kill()
    server.process.wait()


HALF_SENT = [
    b"",
    b"GET / HTTP/1.1\r\nHost: x\r\nX-Half",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nhalf",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha",
]


def test_half_sent_requests_keep_nobody_waiting(server):
    slow = [server.connect(content) for content in HALF_SENT * 25]

    assert server.get("/at-once")[0] == "/at-once"

    slow[2].sendall(b"." * 496)
    answer = b""
    while b"half....." not in answer:
        answer += (received := slow[2].recv(1000))
        assert received
    for connection in slow:
        connection.close()


def test_a_stop_finishes_requests_under_way_and_does_not_wait_for_half_sent_ones(server):
    slow = [server.connect(content) for content in HALF_SENT]
    answers = []
    client = threading.Thread(target=lambda: answers.append(server.get("/wait")[0]))
    client.start()
    wait_until(server.gate.with_suffix(".entered").exists)

    server.process.terminate()
    # A connection on which nothing was sent is closed at once.
    assert slow[0].recv(1) == b""
    assert server.process.poll() is None
    server.gate.touch()

    assert server.process.wait(TIMEOUT) == 0
    client.join(30)
    assert answers == ["/wait"]
    for connection in slow:
        connection.close()


def test_during_a_stop_nobody_waits_to_be_refused(tmp_path):
    server = WebServer(tmp_path, processes=2)
    client = threading.Thread(target=lambda: server.get("/wait"))
    client.start()
    wait_until(server.gate.with_suffix(".entered").exists)

    server.process.terminate()

    wait_until(lambda: is_refused(server))
    assert server.process.poll() is None
    server.gate.touch()
    assert server.process.wait(TIMEOUT) == 0
    client.join(30)


def is_refused(server):
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False
    return False


def test_a_process_that_is_killed_is_replaced(server):
    [first] = descendants(server.process.pid)

    os.kill(first, signal.SIGKILL)

    wait_until(lambda: descendants(server.process.pid).keys() - {first})
    assert server.get()[1] != str(first)


@pytest.fixture
def adjustments():
    return Adjustments(max_request_body_size=64 * 1024 * 1024, inbuf_overflow=128 * 1024 * 1024)


def test_it_refuses_large_uploads_when_too_many_are_under_way(adjustments, settings, monkeypatch):
    settings.API_BODY_LIMIT = 1000
    monkeypatch.setattr(web, "MAX_LONG_BODIES", 10_000)
    header = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6000\r\n\r\n"
    first, second, small = (MeteredRequest(adjustments) for _ in range(3))
    for request in (first, second, small):
        request.received(header)

    first.received(b"." * 5500)
    second.received(b"." * 5500)
    small.received(b"." * 900)

    assert (first.error, small.error) == (None, None)
    assert (second.error.code, second.completed) == (503, True)

    del second, request
    third = MeteredRequest(adjustments)
    third.received(header)
    third.received(b"." * 4000)
    assert third.error is None


def test_it_closes_connections_whose_request_takes_too_long(monkeypatch):
    class Channel:
        requests, last_activity, will_close = [], time.time(), False

        def __init__(self, seconds):
            self.request = MeteredRequest(None)
            self.request.started_at = time.time() - seconds

    server = web.WebServer.__new__(web.WebServer)
    server.adj = Adjustments(channel_timeout=60)
    server.active_channels = {1: Channel(web.REQUEST_TIMEOUT + 1), 2: Channel(web.REQUEST_TIMEOUT - 60)}

    server.maintenance(time.time())

    assert [channel.will_close for channel in server.active_channels.values()] == [True, False]
