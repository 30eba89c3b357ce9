"""A mail server that accepts everything and notes when. Far cheaper than runtime.tests.sink, which parses e-mails."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator

from runtime.tests.installation import wait_until

END_OF_DATA = b"\r\n.\r\n"


class MailSink:
    def __init__(self) -> None:
        self.arrivals: list[tuple[str, float]] = []  # recipients and times of time.perf_counter
        self.port = 0


class Session(asyncio.Protocol):
    def __init__(self, sink: MailSink) -> None:
        self.sink, self.received, self.in_data, self.recipient = sink, b"", False, ""

    def connection_made(self, transport):
        self.transport = transport
        transport.write(b"220 sink\r\n")

    def data_received(self, data):
        self.received += data
        if self.in_data:
            self.accept()
        while not self.in_data and b"\r\n" in self.received:
            line, _, self.received = self.received.partition(b"\r\n")
            self.answer(line)

    def accept(self) -> None:
        if self.received.endswith(END_OF_DATA):
            self.received, self.in_data = b"", False
            self.sink.arrivals.append((self.recipient, time.perf_counter()))
            self.transport.write(b"250 OK\r\n")

    def answer(self, line: bytes) -> None:
        command = line[:4].upper()
        if command == b"DATA":
            self.in_data = True
            self.transport.write(b"354 go on\r\n")
        elif command == b"EHLO":
            self.transport.write(b"250-sink\r\n250 8BITMIME\r\n")
        else:
            if command == b"RCPT":
                self.recipient = line.decode().partition("<")[2].partition(">")[0]
            self.transport.write(b"250 OK\r\n")


@contextlib.contextmanager
def mail_sink() -> Iterator[MailSink]:
    """Run a sink in a thread."""
    sink, loop = MailSink(), asyncio.new_event_loop()

    async def serve() -> None:
        server = await loop.create_server(lambda: Session(sink), "127.0.0.1", 0)
        sink.port = server.sockets[0].getsockname()[1]

    threading.Thread(target=lambda: (loop.run_until_complete(serve()), loop.run_forever()), daemon=True).start()
    wait_until(lambda: sink.port)
    try:
        yield sink
    finally:
        loop.call_soon_threadsafe(loop.stop)
