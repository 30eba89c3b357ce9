"""The APIs of shops, on loopback."""

import json
from urllib.parse import parse_qs, urlsplit

from shops.inbox import store
from shops.kinds import KINDS


def serve(receiver, documents):
    """Answer requests with the first document whose name is in their path. A list has one for each request."""

    def respond(received):
        for name, document in documents.items():
            if name in received.path:
                found = document.pop(0) if isinstance(document, list) else document
                return 200, {"Content-Type": "application/json"}, json.dumps(found).encode()
        return (404,)

    receiver.respond = respond
    return f"http://127.0.0.1:{receiver.port}"


def list_orders(orders, path):
    """The page of orders that WooCommerce lists for this query."""
    query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
    assert (query["orderby"], query["order"], query["dates_are_gmt"]) == ("modified", "asc", "true")
    found = [
        order
        for order in sorted(orders, key=lambda order: order["date_modified_gmt"])
        if order["date_modified_gmt"] > query["modified_after"]
        and str(order["id"]) not in query.get("exclude", "").split(",")
        and order["status"] in query["status"].split(",")
    ]
    return found[: int(query["per_page"])]


def fetch_missed(connection, since):
    """Store what the shop's API lists, as catching up does. Return the ids of the sales."""
    kind, cursor = KINDS[connection.kind](connection), None
    sales: list[str] = []
    while True:
        page = kind.list_missed(since, cursor)
        store(kind, page.events)
        sales += page.sales.values()
        cursor = page.cursor
        if cursor is None:
            return sales


class FakeApi:
    """Answers requests by path."""

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
