"""Requests the pages of the order desk as the web server does, and the simplest possible page."""

import io
import itertools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any
from urllib.parse import urlencode
from wsgiref.util import setup_testing_defaults

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path
from django.views.decorators.cache import never_cache

from benchmarks.results import record
from merchants.models import Member, Product
from orders.models import ActivationCode, Order
from portal.access import member_required
from portal.urls import urlpatterns as portal_urls
from portal.wsgi import application

FLOOR, GOAL = "one row", "at most 3"
WARM_UP = 5
SAMPLES = 10
CSRF_TOKEN = "x" * 32

ONE_NUMBER = engines["django"].from_string(
    '{% extends "base.html" %}{% block content %}<h1>Order {{ number }}</h1>{% endblock %}'
)


@never_cache
@member_required()
def floor(request: HttpRequest, pk: int) -> HttpResponse:
    number = Order.objects.values_list("number", flat=True).get(pk=pk)
    return HttpResponse(ONE_NUMBER.render({"number": number, "section": "orders"}, request))


urlpatterns = [*portal_urls, path("floor/<int:pk>/", floor)]
settings.ROOT_URLCONF = "benchmarks.desk_pages"


@dataclass
class DeskResponse:
    status: int
    headers: dict[str, str]
    body: str
    seconds: float


class DeskBrowser:
    """A signed-in support member of a merchant."""

    def __init__(self) -> None:
        client = Client()
        client.force_login(Member.objects.get(role=Member.Role.SUPPORT).user)
        session = client.cookies[settings.SESSION_COOKIE_NAME].value
        self.cookies = f"{settings.SESSION_COOKIE_NAME}={session}; {settings.CSRF_COOKIE_NAME}={CSRF_TOKEN}"

    def get(self, address: str) -> list[DeskResponse]:
        answer = self._ask("GET", address)
        assert answer.status == 200, (address, answer.status)
        return [answer]

    def search(self, text: str) -> list[DeskResponse]:
        """Post the search and follow its redirect."""
        answer = self._ask("POST", "/orders/", urlencode({"search": text}).encode())
        assert answer.status == 302, (text, answer.status)
        return [answer, *self.get(answer.headers["Location"])]

    def _ask(self, method: str, address: str, form: bytes = b"") -> DeskResponse:
        where, _, query = address.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": where,
            "QUERY_STRING": query,
            "HTTP_HOST": "127.0.0.1",
            "HTTP_COOKIE": self.cookies,
            "HTTP_X_CSRFTOKEN": CSRF_TOKEN,
            "CONTENT_TYPE": "application/x-www-form-urlencoded",
            "CONTENT_LENGTH": str(len(form)),
            "wsgi.input": io.BytesIO(form),
        }
        setup_testing_defaults(environ)
        start = time.perf_counter()
        response = application(environ, lambda *_: io.BytesIO().write)
        body = b"".join(response)
        response.close()
        seconds = time.perf_counter() - start

        return DeskResponse(response.status_code, dict(response.items()), body.decode(), seconds)


@dataclass
class Sample:
    """An order to search for."""

    order: Order
    neighbours: list[Order]
    license_text: str


Visit = Callable[[DeskBrowser, Sample], list[DeskResponse]]


def fill(orders: int) -> None:
    if Order.objects.count() < orders:
        call_command("demo", orders=orders)
    with connection.cursor() as cursor:
        # As autovacuum would soon do; now, so that it doesn't interfere.
        cursor.execute("VACUUM (ANALYZE)")


def compare(rounds: int) -> None:
    browser, samples, visits = DeskBrowser(), choose_samples(), all_visits()
    for sample in itertools.islice(itertools.cycle(samples), WARM_UP):
        for visit in visits.values():
            visit(browser, sample)

    times: dict[str, list[list[float]]] = {name: [] for name in visits}
    for sample in itertools.islice(itertools.cycle(samples), rounds):
        for name, visit in visits.items():
            times[name].append([answer.seconds for answer in visit(browser, sample)])
    report(times, {name: inspect(visit, browser, samples[0]) for name, visit in visits.items()})


def choose_samples() -> list[Sample]:
    """Return orders of all ages, always the same ones."""
    paid = Order.objects.filter(number__startswith="B", status=Order.Status.PAID)
    numbers = list(paid.order_by("number").values_list("number", flat=True))
    samples = []
    for number in Random(1).sample(numbers, SAMPLES):
        order = paid.get(number=number)
        code = ActivationCode.objects.filter(item__order=order).first()
        if code:
            samples.append(Sample(order, list(paid.filter(pk__gt=order.pk).order_by("pk")[:4]), str(code.code)))
    return samples


def all_visits() -> dict[str, Visit]:
    """Return everything to measure, the floor first."""
    pro = Product.objects.get(sku="PHOTO-PRO")
    return {
        FLOOR: lambda browser, sample: browser.get(f"/floor/{sample.order.pk}/"),
        "list": lambda browser, _: browser.get("/orders/"),
        "list, page 2": visit_older(),
        "search: number": lambda browser, sample: browser.search(sample.order.number),
        "search: number, short": lambda browser, sample: browser.search(sample.order.number.lstrip("B0")),
        "search: five numbers": lambda browser, sample: browser.search(
            " ".join(order.number for order in [sample.order, *sample.neighbours])
        ),
        "search: address": lambda browser, sample: browser.search(sample.order.email),
        "search: part of it": lambda browser, sample: browser.search(sample.order.email.partition("@")[0][:12]),
        "search: name": lambda browser, sample: browser.search(sample.order.customer_name),
        "search: last name": lambda browser, sample: browser.search(sample.order.last_name),
        "search: license text": lambda browser, sample: browser.search(sample.license_text),
        "search: its ending": lambda browser, sample: browser.search(sample.license_text[-4:]),
        "search: SKU": lambda browser, _: browser.search(pro.sku),
        "filter: deleted": visit_filtered(status="deleted"),
        "filter: item failed": visit_filtered(fulfillment="failed"),
        "filter: e-mail failed": visit_filtered(delivery="failed"),
        "filter: product": visit_filtered(product=pro.pk),
        "filter: paid range": lambda browser, sample: browser.get(f"/orders/?{paid_in_week(sample.order)}"),
        "order": lambda browser, sample: browser.get(f"/orders/{sample.order.number}/"),
        "needs attention": lambda browser, _: browser.get("/attention/"),
    }


def visit_older() -> Visit:
    match = re.search(r'href="([^"]*)"[^>]*>[^<]*Older', DeskBrowser().get("/orders/")[0].body)
    assert match, "The first page has no link to a second."
    address = "/orders/" + match[1].removeprefix("/orders/").replace("&amp;", "&")
    return lambda browser, _: browser.get(address)


def visit_filtered(**filters: Any) -> Visit:
    return lambda browser, _: browser.get(f"/orders/?{urlencode(filters)}")


def paid_in_week(order: Order) -> str:
    assert order.paid_at
    day = order.paid_at.date()
    return urlencode({"paid_from": day, "paid_until": day + timedelta(days=6)})


@dataclass
class Seen:
    queries: list[dict[str, str]]
    size: int  # bytes


def inspect(visit: Visit, browser: DeskBrowser, sample: Sample) -> Seen:
    with CaptureQueriesContext(connection) as queries:
        answers = visit(browser, sample)
    return Seen(queries.captured_queries, len(answers[-1].body.encode()))


def report(times: dict[str, list[list[float]]], seen: dict[str, Seen]) -> None:
    """Record each page, and for a search the POST and the page together."""
    orders = Order.objects.count()
    floors = [1000 * sum(parts) for parts in times.pop(FLOOR)]
    for name, rounds in times.items():
        pairs = zip([1000 * sum(parts) for parts in rounds], floors, strict=True)
        sizes: dict[str, Any] = {"orders": orders, "queries": len(seen[name].queries), "bytes": seen[name].size}
        record(f"page: {name}", pairs, unit="ms", baseline=FLOOR, goal=GOAL, digits=1, **sizes)


def explain() -> None:
    browser, sample = DeskBrowser(), choose_samples()[0]
    for name, visit in all_visits().items():
        queries = inspect(visit, browser, sample).queries
        slowest = max(
            (query for query in queries if query["sql"].startswith(("SELECT", "("))),
            key=lambda query: float(query["time"]),
        )
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {slowest['sql']}")
            plan = "\n".join(line for (line,) in cursor)
        print(f"\n== {name}: {1000 * float(slowest['time']):.0f} ms\n{slowest['sql']}\n{plan}")
