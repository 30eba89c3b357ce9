"""The vendor's server with faults, each at its own URL: http://127.0.0.1:8801/hang, …/drip, and so on.

    VENDOR_SECRETS=whsec_… python3 misbehave.py --port 8801

Keywell's tests use it. It creates and stores the codes before any fault, as a vendor would.
"""

import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from vendor import read_options

METADATA = "http://169.254.169.254/latest/meta-data/iam/"
PAGE = b"<!DOCTYPE html><title>Oops</title><p>Our database is away. Reference 4F7A-99Q2"


class Misbehaving(ThreadingHTTPServer):
    """Answers like the vendor, but misbehaves at the URLs in BEHAVIORS until `is_mended`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, vendor, port=0):
        super().__init__(("127.0.0.1", port), MisbehavingHandler)
        self.vendor, self.is_mended = vendor, False
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.requests = []  # path, headers and body of each
        self.lock = Lock()
        self.held = set()

    def handle_error(self, request, client_address):
        """Ignore clients that hung up."""


class MisbehavingHandler(BaseHTTPRequestHandler):
    server: Misbehaving

    def do_POST(self):
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        headers.setdefault("content-type", "")
        body = self.rfile.read(int(headers.get("content-length", 0)))
        self.server.requests.append((self.path, headers, body))
        self.key = headers.get("idempotency-key", "")
        right = self.server.vendor.respond(query, headers, body)
        behave = BEHAVIORS.get(path.strip("/"))
        if behave and not self.server.is_mended:
            behave(self, *right)
        else:
            self.answer(*right)

    do_GET = do_POST

    def answer(self, status, content_type, body, **headers):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def hang(handler, *right):
    time.sleep(60)


def drip(handler, *right):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3600\r\n\r\n")
    for _ in range(60):
        handler.wfile.write(b"A")
        handler.wfile.flush()
        time.sleep(1)


def hold(handler, *right):
    """Delay the answer to the first attempt of each request."""
    with handler.server.lock:
        is_known = handler.key in handler.server.held
        handler.server.held.add(handler.key)
    if not is_known:
        time.sleep(15)
    handler.answer(*right)


def too_few(handler, status, content_type, body):
    handler.answer(status, content_type, b"\n".join(body.splitlines()[:-1]))


def close_midway(handler, status, content_type, body):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])


def answering(status, body=b"", content_type="text/plain", **headers):
    """Return a behavior that always gives the same answer."""
    return lambda handler, *right: handler.answer(status, content_type, body, **headers)


def busy_until(handler, *right):
    handler.answer(429, "text/plain", b"", Retry_After=formatdate(time.time() + 600, usegmt=True))


def echo(handler, *right):
    """Answer with an error that quotes the whole request."""
    _, headers, body = handler.server.requests[-1]
    told = f"{handler.path}\n{headers}\n".encode() + body
    handler.answer(400, "text/plain", told)


BEHAVIORS = {
    "hang": hang,
    "drip": drip,
    "hold": hold,
    "500": answering(500, b"Internal error"),
    "503": answering(503, b"", Retry_After="120"),
    "429": answering(429, b"", Retry_After="600"),
    "429-date": busy_until,
    "404": answering(404, b"no such product"),
    "page": answering(200, PAGE, "text/html"),
    "plain-page": answering(200, PAGE),
    "nothing": answering(200),
    "too-few": too_few,
    "same": answering(200, b"SAME-SAME-0001"),
    "large": answering(200, b"LARGE-0001 " * 1_000_000),
    "no-utf-8": answering(200, b"K\xf6nig-\xff\xfe-0001", "text/plain; charset=utf-8"),
    "wrong-type": lambda handler, status, _, body: handler.answer(status, "image/png", body),
    "close": lambda handler, *right: handler.connection.close(),
    "close-midway": close_midway,
    "redirect": answering(302, b"", Location=METADATA),
    "no-http": lambda handler, *right: handler.wfile.write(b"CODE-OF-SSH-1234\r\n\r\n"),
    "echo": echo,
}


def main():
    port, vendor = read_options(8801)
    with Misbehaving(vendor, port) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
