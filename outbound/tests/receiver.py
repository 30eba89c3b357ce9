"""A merchant's web server, on loopback."""

from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from threading import Thread


@dataclass
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def respond(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> tuple:
    return status, headers or {}, body


class Receiver:
    """Records requests and answers with what `respond` returns: a status, and optionally headers and a body."""

    def __init__(self, tls: SSLContext | None = None):
        self.received: list[Received] = []
        self.respond: Callable[[Received], tuple] = lambda received: (200,)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/hook"
        Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    def _handler(self):
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers.get("Content-Length", 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                received = Received(self.command, self.path, headers, self.rfile.read(length))
                receiver.received.append(received)
                status, headers, body = respond(*receiver.respond(received))
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_POST

            def log_message(self, *args):
                pass

        return Handler

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
