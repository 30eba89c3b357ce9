from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from fulfillment.attention import needing_attention
from fulfillment.models import Delivery, Fulfillment
from orders.models import Order, OrderItem, OrderQuerySet
from orders.search import Kind, find
from pools.models import LicenseKey
from portal.access import member_required
from portal.export import export_orders
from portal.forms import FilterForm
from portal.paging import KeysetPage
from vault.fingerprints import fingerprint

LONGEST_SEARCH = 2000
# An order stands as its worst item does.
WORST_FIRST = [
    Fulfillment.Status.FAILED,
    Fulfillment.Status.WAITING,
    Fulfillment.Status.PENDING,
    Fulfillment.Status.DONE,
]
FOR_ROWS = [
    Prefetch("items", OrderItem.objects.select_related("product", "fulfillment").order_by("pk")),
    Prefetch("deliveries", Delivery.objects.order_by("pk")),
]


@dataclass(frozen=True)
class Row:
    """An order in a list."""

    order: Order

    @property
    def items(self) -> list[OrderItem]:
        return list(self.order.items.all())

    @property
    def total(self):
        return sum(item.total_price for item in self.items)

    @property
    def fulfillment(self) -> str:
        states = {item.fulfillment.status for item in self.items}
        return next(state for state in WORST_FIRST if state in states)

    @property
    def delivery(self) -> str:
        deliveries = self.order.deliveries.all()
        return deliveries[len(deliveries) - 1].status if deliveries else "none"


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@member_required()
def order_list(request) -> HttpResponse:
    """The merchant's orders, filtered by the address's parameters. A POST is a search: see `search`."""
    if request.method == "POST":
        return search(request)

    orders, context = searched(request)
    form = FilterForm(request.merchant, request.GET)
    page = KeysetPage(
        form.apply(orders).prefetch_related(*FOR_ROWS),
        before=request.GET.get("before", ""),
        after=request.GET.get("after", ""),
    )
    if not (page.orders or form.in_use or context.get("text")) and not request.merchant.orders.exists():
        return render(request, "portal/orders_empty.html", {"section": "orders", **first_payment(request)})
    return render(request, "portal/orders.html", context | page_context(request, page) | {"form": form})


def page_context(request: HttpRequest, page: KeysetPage) -> dict[str, Any]:
    query = request.GET.copy()
    for cursor in ("before", "after", "merchant"):
        query.pop(cursor, None)
    return {
        "section": "orders",
        "rows": [Row(order) for order in page.orders],
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
    """Lead to what was searched for, without a license text, or what may be one, ever standing in an address."""
    text = request.POST.get("search", "").replace("\0", "").strip()[:LONGEST_SEARCH]
    found = find(request.merchant.orders, text)
    if not text:
        return redirect("orders")
    if not found:
        key = LicenseKey.objects.filter(fingerprint=fingerprint(text), pool__merchant=request.merchant)
        context = {"text": text, "key": key.select_related("pool").first(), "form": FilterForm(request.merchant)}
        return render(request, "portal/orders.html", {"section": "orders", "nothing_found": True, **context})

    kind = next(iter(found))
    parameters = {"license": fingerprint(text).hex()} if kind == Kind.LICENSE else {"q": text, "by": kind.value}
    return redirect(f"{reverse('orders')}?{with_parameter(QueryDict(mutable=True), **parameters)}")


def searched(request) -> tuple[OrderQuerySet, dict[str, Any]]:
    """The orders that a search led to, and what to say about it."""
    orders = request.merchant.orders.all()
    digest = request.GET.get("license", "")
    if digest:
        try:
            return orders.with_code_fingerprint(bytes.fromhex(digest)), {"text": "a license text", "license": digest}
        except ValueError:
            return orders.none(), {}

    text = request.GET.get("q", "").replace("\0", "").strip()[:LONGEST_SEARCH]
    if not text:
        return orders, {}
    found = find(orders, text)
    found.pop(Kind.LICENSE, None)  # only by POST: it would make the address a way to try texts
    by = request.GET.get("by")
    kind = Kind(by) if by in found else next(iter(found), None)
    context = {"text": text, "kind": kind, "also": [other for other in found if other != kind]}
    return found[kind] if kind else orders.none(), context


@require_safe
@member_required()
def export(request) -> StreamingHttpResponse:
    orders, _ = searched(request)
    orders = FilterForm(request.merchant, request.GET).apply(orders)
    name = f"orders-{timezone.now():%Y-%m-%d}.csv"
    return StreamingHttpResponse(
        export_orders(orders.order_by("-reported_at", "-pk")),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


@never_cache
@require_safe
@member_required()
def attention(request) -> HttpResponse:
    """What a person has to look at: failed and long-waiting items, e-mails that did not go out."""
    orders = needing_attention(request.merchant.orders.all(), request.merchant)
    page = KeysetPage(
        orders.prefetch_related(*FOR_ROWS), before=request.GET.get("before", ""), after=request.GET.get("after", "")
    )
    return render(request, "portal/attention.html", page_context(request, page) | {"section": "attention"})


def first_payment(request) -> dict[str, Any]:
    """What the command that reports the first payment is made of."""
    key = request.merchant.api_keys.filter(revoked_at=None).order_by("pk").first()
    product = request.merchant.products.order_by("pk").first()
    page = request.merchant.checkout_pages.order_by("pk").first()
    return {
        "base_url": settings.BASE_URL,
        "key": key,
        "product": product,
        "checkout_page": page,
        "now": timezone.now().replace(microsecond=0),
    }
