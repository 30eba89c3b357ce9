"""A shop's API on loopback: answers GET and POST requests with JSON, by path."""

import json


class FakeApi:
    def __init__(self, receiver):
        self.url = f"http://127.0.0.1:{receiver.port}"
        self.received = receiver.received
        self.answers = {}  # by path without the query; a function gets the request
        receiver.respond = self.respond

    def respond(self, request):
        answer = self.answers.get(request.path.partition("?")[0])
        answer = answer(request) if callable(answer) else answer
        if answer is None:
            return 404, {}, b"{}"
        if isinstance(answer, int):
            return answer, {}, b"{}"
        if isinstance(answer, bytes):
            return 200, {}, answer
        return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()
