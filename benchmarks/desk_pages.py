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
from django.contrib import admin
from django.core.management import call_command
from django.db import connection
from django.db.models import Max, Min
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path
from django.views.decorators.cache import never_cache

from benchmarks.results import record
from merchants.models import Member, Product, User
from orders.models import ActivationCode, Order
from pools.models import LicensePool
from portal.access import member_required
from portal.urls import urlpatterns as portal_urls
from portal.wsgi import application

GOAL = "at most 2"
WARM_UP = 5
SAMPLES = 10
CSRF_TOKEN = "x" * 32

ONE_NUMBER = "{% extends base %}{% block content %}<h1>Order {{ number }}</h1>{% endblock %}"
ONE_NUMBER_PAGE = engines["django"].from_string(ONE_NUMBER)


def show_number(request: HttpRequest, pk: int, context: dict[str, Any]) -> HttpResponse:
    number = Order.objects.values_list("number", flat=True).get(pk=pk)
    return HttpResponse(ONE_NUMBER_PAGE.render({"number": number, **context}, request))


@never_cache
@member_required()
def floor(request: HttpRequest, pk: int) -> HttpResponse:
    return show_number(request, pk, {"base": "base.html", "section": "orders"})


def admin_floor(request: HttpRequest, pk: int) -> HttpResponse:
    return show_number(request, pk, {"base": "admin/base_site.html"} | admin.site.each_context(request))


urlpatterns = [
    path("admin/floor/<int:pk>/", admin.site.admin_view(admin_floor)),
    *portal_urls,
    path("floor/<int:pk>/", floor),
]
settings.ROOT_URLCONF = "benchmarks.desk_pages"
settings.STAFF_SECOND_FACTOR_REQUIRED = False


@dataclass
class DeskResponse:
    status: int
    headers: dict[str, str]
    body: str
    seconds: float


class DeskBrowser:
    """A signed-in user."""

    def __init__(self, user: User) -> None:
        client = Client()
        client.force_login(user)
        session = client.cookies[settings.SESSION_COOKIE_NAME].value
        self.cookies = f"{settings.SESSION_COOKIE_NAME}={session}; {settings.CSRF_COOKIE_NAME}={CSRF_TOKEN}"

    def get(self, address: str) -> list[DeskResponse]:
        answer = self._ask("GET", address)
        assert answer.status == 200, (address, answer.status)
        return [answer]

    def search(self, text: str, address: str = "/orders/") -> list[DeskResponse]:
        """Post the search and follow its redirect."""
        answer = self._ask("POST", address, urlencode({"search": text}).encode())
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


Visit = Callable[[Sample], list[DeskResponse]]


def fill(orders: int) -> None:
    if Order.objects.count() < orders:
        call_command("demo", orders=orders)
    with connection.cursor() as cursor:
        # As autovacuum would soon do; now, so that it doesn't interfere.
        cursor.execute("VACUUM (ANALYZE)")


def compare(rounds: int) -> None:
    samples, groups = choose_samples(), all_visits()
    visits = {name: visit for group in groups.values() for name, visit in group.items()}
    for sample in itertools.islice(itertools.cycle(samples), WARM_UP):
        for visit in visits.values():
            visit(sample)

    times: dict[str, list[float]] = {name: [] for name in visits}
    for sample in itertools.islice(itertools.cycle(samples), rounds):
        for name, visit in visits.items():
            times[name].append(1000 * sum(answer.seconds for answer in visit(sample)))
    orders = Order.objects.count()
    for floor_name, group in groups.items():
        for name in list(group)[1:]:
            seen = inspect(group[name], samples[0])
            sizes: dict[str, Any] = {"orders": orders, "queries": len(seen.queries), "bytes": seen.size}
            pairs = zip(times[name], times[floor_name], strict=True)
            record(f"page: {name}", pairs, unit="ms", baseline=floor_name, goal=GOAL, digits=1, **sizes)


def choose_samples() -> list[Sample]:
    """Return orders of all ages, always the same ones."""
    paid = Order.objects.filter(number__startswith="B", status=Order.Status.PAID)
    ends = paid.aggregate(first=Min("pk"), last=Max("pk"))
    samples: list[Sample] = []
    for pk in Random(1).sample(range(ends["first"], ends["last"] - 100), 10 * SAMPLES):
        order, *neighbours = paid.filter(pk__gte=pk).order_by("pk")[:5]
        code = ActivationCode.objects.filter(item__order=order).first()
        if code:
            samples.append(Sample(order, neighbours, str(code.code)))
    return samples[:SAMPLES]


def all_visits() -> dict[str, dict[str, Visit]]:
    """Return everything to measure, by its baseline, which comes first."""
    support = DeskBrowser(Member.objects.get(role=Member.Role.SUPPORT).user)
    owner = DeskBrowser(Member.objects.get(role=Member.Role.OWNER).user)
    staff = DeskBrowser(User.objects.get(is_superuser=True))
    pro = Product.objects.get(sku="PHOTO-PRO")
    pool = LicensePool.objects.get(fulfillment_methods__product=pro)
    orders: dict[str, Visit] = {
        "one row": lambda sample: support.get(f"/floor/{sample.order.pk}/"),
        "list": lambda _: support.get("/orders/"),
        "list, page 2": visit_older(support),
        "search: number": lambda sample: support.search(sample.order.number),
        "search: number, short": lambda sample: support.search(sample.order.number.lstrip("B0")),
        "search: five numbers": lambda sample: support.search(
            " ".join(order.number for order in [sample.order, *sample.neighbours])
        ),
        "search: address": lambda sample: support.search(sample.order.email),
        "search: part of it": lambda sample: support.search(sample.order.email.partition("@")[0][:12]),
        "search: name": lambda sample: support.search(sample.order.customer_name),
        "search: last name": lambda sample: support.search(sample.order.last_name),
        "search: license text": lambda sample: support.search(sample.license_text),
        "search: its ending": lambda sample: support.search(sample.license_text[-4:]),
        "search: SKU": lambda _: support.search(pro.sku),
        "filter: deleted": visit_filtered(support, status="deleted"),
        "filter: item failed": visit_filtered(support, fulfillment="failed"),
        "filter: item done": visit_filtered(support, fulfillment="done"),
        "filter: e-mail failed": visit_filtered(support, delivery="failed"),
        "filter: e-mail sent": visit_filtered(support, delivery="sent"),
        "filter: product": visit_filtered(support, product=pro.pk),
        "filter: product and status": visit_filtered(support, product=pro.pk, status="deleted"),
        "filter: paid range": lambda sample: support.get(f"/orders/?{paid_in_week(sample.order)}"),
        "order": lambda sample: support.get(f"/orders/{sample.order.number}/"),
        "needs attention": lambda _: support.get("/attention/"),
    }
    stock: dict[str, Visit] = {
        "one row, owner": lambda sample: owner.get(f"/floor/{sample.order.pk}/"),
        "dashboard": lambda _: owner.get("/"),
        "pools": lambda _: owner.get("/pools/"),
        "pool": lambda _: owner.get(f"/pools/{pool.pk}/"),
        "pool: available keys": lambda _: owner.get(f"/pools/{pool.pk}/keys/"),
        "pool: issued keys": lambda _: owner.get(f"/pools/{pool.pk}/keys/?state=issued"),
        "pool: ledger": lambda _: owner.get(f"/pools/{pool.pk}/ledger/"),
    }
    address = "/admin/orders/order/"
    admin_orders: dict[str, Visit] = {
        "one row, admin": lambda sample: staff.get(f"/admin/floor/{sample.order.pk}/"),
        "admin: orders": lambda _: staff.get(address),
        "admin: page 10": lambda _: staff.get(f"{address}?p=10"),
        "admin: search: number": lambda sample: staff.search(sample.order.number, address),
        "admin: search: address": lambda sample: staff.search(sample.order.email, address),
        "admin: search: last name": lambda sample: staff.search(sample.order.last_name, address),
        "admin: search: SKU": lambda _: staff.search(pro.sku, address),
        "admin: filter: unpaid": lambda _: staff.get(f"{address}?status__exact=unpaid"),
        "admin: filter: merchant": lambda _: staff.get(f"{address}?merchant__id__exact={pro.merchant_id}"),
        "admin: filter: deleted": lambda _: staff.get(f"{address}?status__exact=deleted"),
        "admin: filter: attention": lambda _: staff.get(f"{address}?attention=needed"),
    }
    return {next(iter(group)): group for group in (orders, stock, admin_orders)}


def visit_older(browser: DeskBrowser) -> Visit:
    match = re.search(r'href="([^"]*)"[^>]*>[^<]*Older', browser.get("/orders/")[0].body)
    assert match, "The first page has no link to a second."
    address = "/orders/" + match[1].removeprefix("/orders/").replace("&amp;", "&")
    return lambda _: browser.get(address)


def visit_filtered(browser: DeskBrowser, **filters: Any) -> Visit:
    return lambda _: browser.get(f"/orders/?{urlencode(filters)}")


def paid_in_week(order: Order) -> str:
    assert order.paid_at
    day = order.paid_at.date()
    return urlencode({"paid_from": day, "paid_until": day + timedelta(days=6)})


@dataclass
class Seen:
    queries: list[dict[str, str]]
    size: int  # bytes


def inspect(visit: Visit, sample: Sample) -> Seen:
    with CaptureQueriesContext(connection) as queries:
        answers = visit(sample)
    return Seen(queries.captured_queries, len(answers[-1].body.encode()))


def explain() -> None:
    sample = choose_samples()[0]
    for name, visit in [pair for group in all_visits().values() for pair in group.items()]:
        queries = inspect(visit, sample).queries
        slowest = max(
            (query for query in queries if query["sql"].startswith(("SELECT", "("))),
            key=lambda query: float(query["time"]),
        )
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {slowest['sql']}")
            plan = "\n".join(line for (line,) in cursor)
        print(f"\n== {name}: {1000 * float(slowest['time']):.0f} ms\n{slowest['sql']}\n{plan}")
