"""A NetLicensing service on loopback, and a proxy in front of it that fails, hangs or drops connections."""

import json
import time
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

ROLES = {"operation": True, "licensee": False}
TEMPLATES = {"T-SUB": "P-1", "T-PPU": "P-1", "T-FEATURE": "P-1", "T-OTHER": "P-2"}


class Service:
    """The part of the API that we need, with strict checks."""

    def __init__(self):
        self.keys = {"the-key": "operation", "weak-key": "licensee"}
        self.licensees: dict[str, dict] = {}
        self.licenses: dict[str, dict] = {}

    def __call__(self, method, target, headers, body):
        parts = urlsplit(target)
        kind, _, number = parts.path.removeprefix("/core/v2/rest/").partition("/")
        query = {name: values[0] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
        form = {name: values[0] for name, values in parse_qs(body.decode(), strict_parsing=bool(body)).items()}
        assert headers["Accept"] == "application/json"
        assert not body or headers["Content-Type"] == "application/x-www-form-urlencoded"
        user, _, key = b64decode(headers["Authorization"].removeprefix("Basic ")).decode().partition(":")
        if user != "apiKey" or not ROLES.get(self.keys.get(key, "")):
            return refusal(403, "AccessDeniedException", "The API key is not known, or its role is too low.")
        if method == "GET" and not number:
            return self.page(kind, query)
        act = {"GET": self.get, "POST": self.update if number else self.create, "DELETE": self.delete}[method]
        return act(kind, unquote(number) or form.get("number", ""), form)

    def rows(self, kind):
        return {"licensee": self.licensees, "license": self.licenses}[kind]

    def page(self, kind, query):
        terms = dict(term.split("=") for term in query.get("filter", "").split(";") if term)
        page, size = int(terms.pop("page", 0)), int(terms.pop("items", 1000))
        found = [row for row in self.rows(kind).values() if all(row.get(name) == terms[name] for name in terms)]
        return envelope(kind, found[page * size :][:size], has_next=len(found) > (page + 1) * size)

    def get(self, kind, number, form):
        if number not in self.rows(kind):
            return refusal(404, "NotFoundException", f"Requested {kind} does not exist")
        return envelope(kind, [self.rows(kind)[number]])

    def create(self, kind, number, form):
        if number in self.rows(kind):
            return refusal(400, "ValidationException", "The number is in use")
        if kind == "licensee":
            if form["productNumber"] not in set(TEMPLATES.values()):
                return refusal(404, "NotFoundException", "Requested product does not exist")
            row = {"active": "true", "markedForTransfer": "false", **form}
            if row["markedForTransfer"] == "false":
                self.licenses[f"AUTO-{number}"] = {"number": f"AUTO-{number}", "licenseeNumber": number}
        else:
            if form["licenseTemplateNumber"] not in TEMPLATES:
                return refusal(404, "NotFoundException", "Requested license template does not exist")
            product = self.licensees[form["licenseeNumber"]]["productNumber"]
            if TEMPLATES[form["licenseTemplateNumber"]] != product:
                return refusal(400, "IllegalOperationException", "The template is another product’s")
            row = {"active": "true", **form}
        self.rows(kind)[number] = row
        return envelope(kind, [row])

    def update(self, kind, number, form):
        if number not in self.rows(kind):
            return refusal(404, "NotFoundException", f"Requested {kind} does not exist")
        self.rows(kind)[number] |= form
        return envelope(kind, [self.rows(kind)[number]])

    def delete(self, kind, number, form):
        del self.rows(kind)[number]
        return 204, {}, b""

    def transfer(self, source, target):
        """Transfer all licenses, as the customer's software does."""
        self.licensees.setdefault(target, {"number": target, "active": "true", "productNumber": "P-1"})
        for row in self.licenses.values():
            if row["licenseeNumber"] == source:
                row["licenseeNumber"] = target

    def licenses_of(self, licensee):
        return [row for row in self.licenses.values() if row["licenseeNumber"] == licensee]

    def templates_of(self, licensee):
        return sorted(row["licenseTemplateNumber"] for row in self.licenses_of(licensee))


def envelope(kind, rows, *, has_next=False, infos=None):
    items = [
        {
            "type": kind[0].upper() + kind[1:],
            "property": [{"name": name, "value": value} for name, value in row.items()],
            "list": [],
        }
        for row in rows
    ]
    page = {"pagenumber": "0", "hasnext": str(has_next).lower()}
    content = {"signature": None, "infos": infos, "items": {"item": items, **page}, "id": None, "ttl": None}
    return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()


def refusal(status, id, text):
    infos = {"info": [{"id": id, "type": "ERROR", "value": text}]}
    content = {"signature": None, "infos": infos, "items": None, "id": None, "ttl": None}
    return status, {"Content-Type": "application/json"}, json.dumps(content).encode()


class Proxy:
    """Forwards requests to a service, except request number `step`: that one gets `failure`."""

    def __init__(self, forward):
        self.forward = forward
        self.failure, self.step = "", 0
        self.requests: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/core/v2/rest"
        Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    def fail_at(self, kind, step):
        self.requests.clear()
        self.failure, self.step = kind, step

    def stop_failing(self):
        self.fail_at("", 0)

    def with_short_timeout(self, call):
        """Wrap `call` with a short timeout while requests hang."""

        def call_with_timeout(*args, **fields):
            return call(*args, **fields | ({"timeout": 0.3} if self.failure.startswith("hangs") else {}))

        return call_with_timeout

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request, body):
        """Return the answer, possibly cut short; None drops the connection."""
        self.requests.append(f"{request.command} {request.path}")
        failure = self.failure if len(self.requests) == self.step else ""
        if failure == "dies before":
            return None
        if failure == "hangs before":
            time.sleep(0.5)
            return None
        if failure == "answers 503":
            return 503, {}, b""
        if failure == "another server answers":
            return 200, {"Content-Type": "text/html"}, b"<html><title>Welcome to nginx!</title></html>"
        if failure == "answers 403":
            return refusal(403, "AccessDeniedException", "Not this key")
        if failure == "answers 200 with an error":
            return 200, *refusal(500, "InternalException", "Something failed")[1:]
        answer = self.forward(request.command, request.path, request.headers, body)
        if failure == "hangs after":
            time.sleep(0.5)
            return None
        if failure == "answers 500 after":
            return 500, {}, b""
        if failure == "answers with other numbers":
            return answer[0], answer[1], answer[2].replace(b'"KL-', b'"KX-').replace(b'"KW-', b'"KX-')
        if failure == "dies after":
            return None
        if failure == "cuts the answer":
            return answer[0], {"Content-Length": str(len(answer[2]))}, answer[2][: len(answer[2]) // 2]
        return answer

    def _handler(self):
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer = proxy.answer(self, body)
                if answer is None:
                    self.close_connection = True
                    return
                status, headers, body = answer
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_DELETE = do_POST

            def log_message(self, *args):
                pass

        return Handler


FAILURES = [
    "dies before",
    "dies after",
    "hangs before",
    "hangs after",
    "cuts the answer",
    "answers 503",
    "answers 500 after",
    "another server answers",
    "answers with other numbers",
    "answers 403",
    "answers 200 with an error",
]
