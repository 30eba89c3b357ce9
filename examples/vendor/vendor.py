"""A web service that gives Keywell activation codes: copy it and write your own `make_code`.

    VENDOR_SECRETS=whsec_… python3 vendor.py --port 8800

Any WSGI server can run it as `Vendor(secrets, "codes.sqlite3")`. It needs only Python.
"""

import argparse
import base64
import hmac
import json
import os
import re
import secrets as randomness
import sqlite3
import time
from contextlib import closing
from socketserver import ThreadingMixIn
from urllib.parse import parse_qsl
from wsgiref.simple_server import WSGIServer, make_server
from xml.etree.ElementTree import Element, SubElement, tostring

TIMESTAMP_TOLERANCE = 5 * 60  # seconds that a request may be old, or the clocks may differ
MAX_CODES = 1000


class RequestRefused(Exception):
    """The request gets no codes. `status` tells Keywell whether to ask again: with 4xx it doesn't."""

    def __init__(self, status, why):
        super().__init__(why)
        self.status = status


def make_code(parameters):
    """Your key generator. `parameters` holds the parameters that you enabled in Keywell, under the names you chose."""
    return "-".join(randomness.token_hex(2).upper() for _ in range(4))


class Vendor:
    def __init__(self, secrets, database, answer="text"):
        self.secrets, self.database, self.answer = secrets, database, answer
        with closing(self.connect()) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS answers (request TEXT PRIMARY KEY, codes TEXT NOT NULL)")

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        names = ("Idempotency-Key", "Keywell-Test", "webhook-id", "webhook-timestamp", "webhook-signature")
        headers = {name.lower(): environ.get("HTTP_" + name.upper().replace("-", "_"), "") for name in names}
        headers["content-type"] = environ.get("CONTENT_TYPE", "")
        status, content_type, answer = self.respond(environ["QUERY_STRING"], headers, body)
        start_response(f"{status} .", [("Content-Type", content_type), ("Content-Length", str(len(answer)))])
        return [answer]

    def respond(self, query, headers, body):
        """Return status, content type and body of the answer to a request. Header names are in lower case."""
        try:
            # A GET has no body: its raw query string is signed.
            content = body or query.encode()
            self.verify(headers, content)
            parameters = read_parameters(headers["content-type"], content)
            codes = self.find_codes(headers, parameters)
        except RequestRefused as problem:
            return problem.status, "text/plain; charset=utf-8", str(problem).encode()
        return 200, *write(self.answer, codes)

    def verify(self, headers, content):
        """Raise RequestRefused unless the request comes from Keywell and is recent."""
        timestamp = headers["webhook-timestamp"]
        if not re.fullmatch("[0-9]{1,12}", timestamp) or abs(time.time() - int(timestamp)) > TIMESTAMP_TOLERANCE:
            raise RequestRefused(401, "The timestamp is too old, or the clocks differ.")
        signed = f"{headers['webhook-id']}.{timestamp}.".encode() + content
        # After a rotation there are several signatures, and we may know both secrets.
        given = [one.removeprefix("v1,") for one in headers["webhook-signature"].split()]
        for secret in self.secrets:
            key = base64.b64decode(secret.removeprefix("whsec_"))
            right = base64.b64encode(hmac.digest(key, signed, "sha256"))
            if any(hmac.compare_digest(right, one.encode()) for one in given):
                return
        raise RequestRefused(401, "The signature is wrong.")

    def find_codes(self, headers, parameters):
        """Return the codes for this request, the same ones if it is repeated."""
        quantity = parameters.get("Quantity", "1")
        if not quantity.isdecimal() or not 1 <= int(quantity) <= MAX_CODES:
            raise RequestRefused(400, f"The quantity {quantity} is not supported.")
        if headers.get("keywell-test"):
            return [f"TEST-{number:04}" for number in range(1, int(quantity) + 1)]  # a test from the console

        request = headers.get("idempotency-key", "")
        if not request:
            raise RequestRefused(400, "The Idempotency-Key is missing.")
        with closing(self.connect()) as connection:
            # Serializes answers until the commit, since the same request may arrive twice at once.
            connection.execute("BEGIN IMMEDIATE")
            row = connection.execute("SELECT codes FROM answers WHERE request = ?", [request]).fetchone()
            if row:
                return json.loads(row[0])
            codes = [make_code(parameters) for _ in range(int(quantity))]
            connection.execute("INSERT INTO answers VALUES (?, ?)", [request, json.dumps(codes)])
            connection.execute("COMMIT")  # before we answer
        return codes

    def connect(self):
        return sqlite3.connect(self.database, timeout=10, isolation_level=None)


def read_parameters(content_type, content):
    try:
        if content_type.startswith("application/json"):
            return json.loads(content)
        return dict(parse_qsl(content.decode(), keep_blank_values=True))
    except ValueError as error:
        raise RequestRefused(400, "The parameters can't be read.") from error


def write(answer, codes):
    """Return content type and body. In Keywell: the whole answer, several codes; $.keys[*]; answer/key."""
    if answer == "json":
        return "application/json", json.dumps({"keys": codes}).encode()
    if answer == "xml":
        root = Element("answer")
        for code in codes:
            SubElement(root, "key").text = code
        return "application/xml; charset=utf-8", tostring(root, encoding="utf-8")
    return "text/plain; charset=utf-8", "\n".join(codes).encode()


class VendorServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def read_options(port):
    """Return the address to listen on, and the vendor."""
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, default=port)
    options.add_argument("--database", default="codes.sqlite3")
    options.add_argument("--answer", choices=["text", "json", "xml"], default="text")
    given = options.parse_args()
    # Not an option, which every user of the machine could read. During a rotation, both secrets, separated by a space.
    secrets = os.environ["VENDOR_SECRETS"].split()
    return given.port, Vendor(secrets, given.database, given.answer)


def main():
    port, vendor = read_options(8800)
    with make_server("127.0.0.1", port, vendor, VendorServer) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
