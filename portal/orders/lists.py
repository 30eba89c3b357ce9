import json
import shlex
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from fulfillment.models import Fulfillment, FulfillmentMethod
from merchants.models import ApiKey, Merchant
from merchants.onboarding import FIRST_PAGE
from orders.models import Order, OrderQuerySet, RefusedReport
from orders.refusals import REFUSAL_RETENTION
from orders.search import (
    MAX_QUOTED,
    MAX_SEARCH,
    Kind,
    find,
    get_digests,
    get_shown_kinds,
    is_secret,
    look_up,
    text_for_url,
)
from pools.models import LicenseKey
from portal.access import member_required
from portal.orders.export import export_orders
from portal.orders.forms import UNMAPPED, FilterForm
from portal.paging import KeysetPage
from work import sql
from work.sql import PreparedQuery

# An order's fulfillment status is the worst of its items.
WORST_FIRST: list[str] = [
    Fulfillment.Status.FAILED,
    Fulfillment.Status.WAITING,
    Fulfillment.Status.PENDING,
    Fulfillment.Status.DONE,
    UNMAPPED,
]
ROW_FIELDS = (
    *("merchant", "number", "status", "email", "first_name", "last_name", "currency", "reported_at", "paid_at"),
    "held_until",
)


@dataclass
class OrderRow:
    order: Order
    products: list[tuple[str, int]] = field(default_factory=list)  # names and quantities
    total: Decimal = Decimal(0)
    fulfillment: str = UNMAPPED
    delivery: str = "none"

    def add(self, product: str, quantity: int, price: Decimal, status: str) -> None:
        self.products.append((product, quantity))
        self.total += price
        self.fulfillment = min(self.fulfillment, status, key=WORST_FIRST.index)

    def add_other(self, product: str, quantity: int, price: Decimal) -> None:
        self.products.append((product or gettext("Not ours"), quantity))
        self.total += price


# Items of orders, then items that are not ours, then e-mails; the oldest first within each.
READ_ROWS = """
    SELECT item.order_id AS order, 1 AS kind, item.id, product.name, quantity, total_price, status
    FROM orders_orderitem AS item
    JOIN merchants_product AS product ON product.id = product_id
    JOIN fulfillment_fulfillment AS fulfillment ON item_id = item.id
    WHERE item.order_id = ANY (ARRAY(SELECT json_array_elements_text(%(orders)s::json)::bigint))
    UNION ALL
    SELECT order_id, 2, id, product, quantity, total_price, '' FROM orders_otheritem
    WHERE order_id = ANY (ARRAY(SELECT json_array_elements_text(%(orders)s::json)::bigint))
    UNION ALL
    SELECT order_id, 3, id, '', 0, 0, status FROM delivery_delivery
    WHERE order_id = ANY (ARRAY(SELECT json_array_elements_text(%(orders)s::json)::bigint))
    ORDER BY kind, id
"""


def make_rows(orders: list[Order]) -> list[OrderRow]:
    rows = {order.pk: OrderRow(order) for order in orders}
    for pk, kind, _, product, quantity, price, status in sql.run(READ_ROWS, orders=list(rows)):
        if kind == 1:
            rows[pk].add(product, quantity, price, status)
        elif kind == 2:
            rows[pk].add_other(product, quantity, price)
        else:
            rows[pk].delivery = status
    return list(rows.values())


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@member_required(has_test_data=True)
def order_list(request) -> HttpResponse:
    """List the merchant's orders, filtered by URL parameters. A POST searches: see `search`."""
    if request.method == "POST":
        return search(request)

    orders, context = searched(request)
    form = FilterForm(request.merchant.vendor, request.GET)
    page = get_page(request, form.apply(orders), "paid_at" if form.is_about_payment else "reported_at")
    if not (page.rows or form.in_use or context.get("text")) and not request.merchant.orders.exists():
        empty = {"section": "orders", "refused": has_refused(request), **first_payment(request)}
        return render(request, "portal/orders/orders_empty.html", empty)
    context |= page_context(request, page) | {"form": form, "refused": has_refused(request)}
    return render(request, "portal/orders/orders.html", context)


def has_refused(request: HttpRequest) -> bool:
    return bool(read_refused(merchant=request.merchant.pk))  # type: ignore[attr-defined]


@PreparedQuery
def read_refused(merchant: int) -> QuerySet:
    return RefusedReport.objects.filter(merchant=merchant).values("pk")[:1]


def get_page(request: HttpRequest, orders: OrderQuerySet, field: str = "reported_at") -> KeysetPage:
    return KeysetPage(orders.only(*ROW_FIELDS), field, **get_cursors(request))


def get_cursors(request: HttpRequest) -> dict[str, str]:
    return {name: request.GET.get(name, "") for name in ("before", "after")}


def page_context(request: HttpRequest, page: KeysetPage) -> dict[str, Any]:
    query = request.GET.copy()
    for cursor in ("before", "after", "merchant"):
        query.pop(cursor, None)
    return {
        "section": "orders",
        "rows": make_rows(page.rows),
        "by_payment": page.field == "paid_at",
        "query": query.urlencode(),
        "older": with_parameter(query, before=page.older) if page.older else "",
        "newer": with_parameter(query, after=page.newer) if page.newer else "",
    }


def with_parameter(query: QueryDict, **parameters: str) -> str:
    query = query.copy()
    for name, value in parameters.items():
        query[name] = value
    return query.urlencode()


def search(request) -> HttpResponse:
    """Redirect to the search result without putting a license text, or what may be one, in the URL."""
    text = request.POST.get("search", "").replace("\0", "").replace("\r\n", "\n")[:MAX_SEARCH].strip()
    if not text:
        return redirect("orders")
    found = find(request.merchant.orders, text)
    if not found:
        key = LicenseKey.objects.filter(pool__merchant=request.merchant).with_text(text)
        context = {
            "text": text,
            "key": key.select_related("pool").first(),
            "form": FilterForm(request.merchant.vendor),
        }
        return render(request, "portal/orders/orders.html", {"section": "orders", "nothing_found": True, **context})

    return redirect(url_of_found(request.merchant, found, text))


def url_of_found(merchant: Merchant, found: dict[Kind, OrderQuerySet], text: str) -> str:
    """Return the URL of the list of the orders that a search found."""
    kind, *also = found
    if is_secret(kind, text):
        digests = get_digests(merchant.orders.all(), kind, text)
        parameters = {"license": ",".join(digest.hex() for digest in digests), "by": kind.value}
    else:
        parameters = {"q": text_for_url(kind, found[kind], text), "by": kind.value}
        also = [kind for kind in also if not is_secret(kind, text)]
        if also and parameters["q"] == text:
            parameters["also"] = ",".join(also)
    return f"{reverse('orders')}?{with_parameter(QueryDict(mutable=True), **parameters)}"


def searched(request) -> tuple[OrderQuerySet, dict[str, Any]]:
    """Return the orders that a search found, and the template context that describes it."""
    orders = request.merchant.orders.all()
    license = request.GET.get("license", "")
    if license:
        try:
            digests = [bytes.fromhex(digest) for digest in license.split(",")]
        except ValueError:
            return orders.none(), {}
        is_similar = request.GET.get("by") == Kind.SIMILAR
        found = orders.with_loose_fingerprint(*digests) if is_similar else orders.with_code_fingerprint(*digests)
        by = Kind.SIMILAR if is_similar else Kind.LICENSE
        return found, {"text": gettext("a license text"), "license": license, "license_by": by}

    text = request.GET.get("q", "").replace("\0", "").strip()[:MAX_QUOTED]
    if not text:
        return orders, {}
    names = [request.GET.get("by", ""), *request.GET.get("also", "").split(",")]
    kinds = get_shown_kinds(orders, text, names)
    found = look_up(orders, kinds[0], text) if kinds else None
    context = {"text": text, "kind": next(iter(kinds), None), "also": kinds[1:]}
    return orders.none() if found is None else found, context


@require_safe
@member_required(has_test_data=True)
def export(request) -> StreamingHttpResponse:
    orders, _ = searched(request)
    orders = FilterForm(request.merchant.vendor, request.GET).apply(orders)
    kind = "test-orders" if request.merchant.is_test else "orders"
    name = f"{kind}-{timezone.now():%Y-%m-%d}.csv"
    return StreamingHttpResponse(
        export_orders(orders.order_by("-reported_at", "-pk")),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


@never_cache
@require_safe
@member_required(has_test_data=True)
def refused_reports(request) -> HttpResponse:
    """List the refused reports of the merchant's shops, newest first."""
    page = KeysetPage(request.merchant.refused_reports.all(), "last_at", **get_cursors(request))
    numbers = {report.order_number for report in page.rows}
    accepted = {order.number: order for order in request.merchant.orders.filter(number__in=numbers)}
    rows = [(report, accepted.get(report.order_number)) for report in page.rows]
    query = QueryDict(mutable=True)
    context = {
        "section": "orders",
        "rows": rows,
        "days": REFUSAL_RETENTION.days,
        "older": with_parameter(query, before=page.older) if page.older else "",
        "newer": with_parameter(query, after=page.newer) if page.newer else "",
    }
    return render(request, "portal/orders/refused_reports.html", context)


def first_payment(request) -> dict[str, Any]:
    """Template context for the sample command that reports a first payment."""
    merchant = request.merchant
    key = merchant.api_keys.active().filter(scopes__contains=[ApiKey.Scope.PAYMENTS]).order_by("pk").first()
    with_source = Exists(FulfillmentMethod.objects.filter(product=OuterRef("pk")))
    product = merchant.vendor.products.order_by(with_source.desc(), "pk").first()
    page = merchant.vendor.checkout_pages.order_by("pk").first()
    payment = {
        "order": "TEST-1",
        "paid_at": timezone.now().replace(microsecond=0).isoformat(),
        "currency": "EUR",
        "checkout_page": page.code if page else FIRST_PAGE,
        "customer": {"email": request.user.email},
        "items": [
            {"item": "1", "product": product.sku if product else "YOUR-SKU", "quantity": 1, "total_price": "0.00"}
        ],
    }
    body = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in payment.items())
    return {
        "base_url": settings.BASE_URL,
        "key": key,
        "product": product,
        "payment": shlex.quote(f"{{{body}}}"),  # an address may contain an apostrophe
    }
