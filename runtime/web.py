"""The web server: waitress, in processes that share one listening socket.

Waitress reads a whole request before it takes a thread for it, so slow clients don't delay others
(docs/decisions/0026-waitress.md).

    python -m runtime.web [--application MODULE] [--processes N] [--threads N] (--address HOST:PORT | --socket NUMBER)

`--socket` is the number of an inherited file descriptor that is already listening.
"""

import argparse
import contextlib
import gc
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any
from weakref import WeakSet

from django.conf import settings
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher
from waitress.utilities import Error

from runtime.sizing import processes
from runtime.supervisor import BACKLOG, die_with_parent, uninterrupted

# Per process. Further connections wait in the kernel.
MAX_CONNECTIONS = 2000
# File descriptors for anything besides connections.
OTHER_FILES = 200
# Bytes of request bodies over 1 MiB that one process holds in memory. It refuses further ones.
MAX_LONG_BODIES = 256 * 1024 * 1024
# Seconds in which a request must arrive completely, and after which an idle connection is closed.
REQUEST_TIMEOUT, IDLE_TIMEOUT = 300, 60
# Seconds that running requests have when the server stops.
STOP_TIMEOUT = 8
# Seconds in which an incomplete request must arrive when the server stops.
ARRIVAL_TIMEOUT = 2


class Busy(Error):
    code = 503
    reason = "Service Unavailable"


class MeteredRequest(HTTPRequestParser):
    long: WeakSet["MeteredRequest"] = WeakSet()
    completed: bool

    def __init__(self, adj: Adjustments) -> None:
        super().__init__(adj)
        self.started_at = time.time()

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self.body_bytes_received > settings.API_BODY_LIMIT and not self.completed:
            self.long.add(self)
            if sum(request.body_bytes_received for request in self.long) > MAX_LONG_BODIES:
                self.error = Busy("Too many large uploads at once. Try again in a minute.")
                self.completed = True
        return consumed


class Channel(HTTPChannel):
    """One connection."""

    parser_class = MeteredRequest

    @property
    def is_idle(self) -> bool:
        """Return whether no request is running or about to arrive. A slow request won't arrive before a stop."""
        is_arriving = self.request and self.request.started_at > time.time() - ARRIVAL_TIMEOUT
        return not (self.requests or is_arriving or self.total_outbufs_len)


class WebServer(TcpWSGIServer):
    channel_class = Channel

    def maintenance(self, now: float) -> None:
        super().maintenance(now)
        for channel in self.active_channels.values():
            if channel.request and channel.request.started_at < now - REQUEST_TIMEOUT:
                channel.will_close = True

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then finish running requests."""
        stopping: list[int] = []

        def stop(number: int, _: object) -> None:
            stopping.append(number)
            self.pull_trigger()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        while not stopping:
            self._turn()

        # Clients that are already connected are served.
        known = -1
        while known < len(self.active_channels):
            known = len(self.active_channels)
            self.handle_accept()
        self.accepting = False
        self.del_channel()
        self.socket.close()
        deadline = time.monotonic() + STOP_TIMEOUT
        while self.active_channels and time.monotonic() < deadline:
            # Before it looks for idle connections, so that a connection with received data isn't idle.
            self._turn(0.1)
            for channel in self.active_channels.values():
                channel.will_close = channel.will_close or channel.is_idle

    def handle_close(self) -> None:
        """The socket no longer listens: the server is stopping."""
        self.del_channel()

    def _turn(self, timeout: float = 1) -> None:
        wasyncore.loop(timeout=timeout, map=self._map, use_poll=True, count=1)


def serve(application: Callable, listener: socket.socket, *, threads: int) -> None:
    """Serve in this process. Bodies and answers stay in memory: they may hold keys, which must not reach the disk."""
    open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limits: dict[str, Any] = {
        "max_request_body_size": settings.DATA_UPLOAD_MAX_MEMORY_SIZE + settings.API_BODY_LIMIT,
        "max_request_header_size": 32 * 1024,
        "connection_limit": min(MAX_CONNECTIONS, max(open_files - OTHER_FILES, OTHER_FILES)),
        "channel_timeout": IDLE_TIMEOUT,
    }
    buffers = {"inbuf_overflow": 2 * limits["max_request_body_size"], "outbuf_overflow": 64 * 1024 * 1024}
    # Django evaluates the headers of a proxy (BEHIND_PROXY).
    headers: dict[str, Any] = {"ident": "", "clear_untrusted_proxy_headers": False}
    adjustments = Adjustments(
        **limits, **buffers, **headers, threads=threads, backlog=BACKLOG, log_socket_errors=False, sockets=[listener]
    )
    dispatcher = ThreadedTaskDispatcher()
    dispatcher.set_thread_count(threads)
    info = (listener.family, listener.type, listener.proto, listener.getsockname())
    WebServer(
        application, {}, True, listener, dispatcher=dispatcher, adj=adjustments, sockinfo=info, bind_socket=False
    ).run()


def serve_in_processes(count: int, listener: socket.socket, serve_one: Callable[[], None]) -> None:
    """Keep this number of forks serving until SIGTERM or SIGINT stops them all.

    After one of them has accepted all waiting connections, the socket is closed: a refused connection is better
    than one that is never answered.
    """
    children: set[int] = set()
    stopping: list[int] = []

    def stop(number: int, _: object) -> None:
        stopping.append(number)
        for child in children:
            os.kill(child, signal.SIGTERM)

    def start() -> None:
        prepare = die_with_parent(signal.SIGTERM)
        with uninterrupted():
            child = os.fork()
            if child:
                children.add(child)
                return
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            prepare()
        serve_one()
        # Don't wait for threads that are still working.
        os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    for _ in range(count):
        start()
    while children:
        child, _ = os.wait()
        with uninterrupted():
            children.discard(child)
        if stopping:
            with contextlib.suppress(OSError):  # it no longer listens
                listener.shutdown(socket.SHUT_RDWR)
        else:
            time.sleep(0.5)
            start()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m runtime.web", description="Serve Keywell over HTTP.")
    parser.add_argument("--application", default="portal.wsgi", help="module with a WSGI application")
    parser.add_argument("--processes", type=int, default=processes(), help="default: what the machine allows")
    parser.add_argument("--threads", type=int, default=4, help="per process; each has a database connection")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--address", help="HOST:PORT to listen on")
    place.add_argument("--socket", type=int, help="number of a file descriptor that is already listening")
    options = parser.parse_args()

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    application = import_module(options.application).application
    if options.socket is None:
        host, _, port = options.address.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host.strip("[]"), int(port)), family=family, backlog=BACKLOG)
    else:
        listener = socket.socket(fileno=options.socket)
    # Keeps the garbage collector from touching, and so copying, memory shared with the forks.
    gc.collect()
    gc.freeze()
    serve_in_processes(options.processes, listener, lambda: serve(application, listener, threads=options.threads))


if __name__ == "__main__":
    main()
