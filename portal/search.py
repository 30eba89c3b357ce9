"""Finds orders, customers, codes, products, pools, sources, shops and pages from anywhere in the portal."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q, QuerySet, Value
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from merchants.models import Product
from orders.models import Order
from orders.search import CODES, MAX_SEARCH, Kind, clean, find, find_codes
from outbound.models import Upstream
from pools.models import LicenseKey, LicensePool
from portal.access import Role, member_required, merchant_query
from portal.navigation import MORE, Text, open_to, read_groups
from portal.orders.lists import url_of_found
from shops.models import Connection

MAX_HITS = 5  # of each kind
# Orders among which customers are looked for.
MAX_ORDERS = 50
ORDER_FIELDS = ("merchant", "number", "email", "first_name", "last_name", "status")
PERSONS = {Kind.EMAIL, Kind.CUSTOMER, Kind.OTHER_DOMAIN}


@dataclass(frozen=True)
class Hit:
    title: Text
    url: str
    note: Text = ""


@dataclass(frozen=True)
class Hits:
    title: Text
    hits: list[Hit]
    more_url: str = ""  # of everything that was found, if that is more


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@member_required(has_test_data=True)
def search(request: HttpRequest) -> HttpResponse:
    """Search by a posted text, so that no license gets into a URL. While it is typed, htmx shows what is found."""
    text = read_text(request)
    return show_found(request, text, search_everything(request, text), "portal/search.html")


def show_found(request: HttpRequest, text: str, groups: Iterable[Hits], template: str, **context: Any) -> HttpResponse:
    """Show what a search found: to htmx as a list, otherwise as a page, unless it is one hit, which opens at once."""
    found = [group for group in groups if group.hits] if clean(text) else []
    context |= {"text": text, "found": found}
    if request.headers.get("HX-Request"):
        return render(request, "portal/search_results.html", context)
    hits = [hit for group in found for hit in group.hits]
    return redirect(hits[0].url) if len(hits) == 1 else render(request, template, context)


def read_text(request: HttpRequest) -> str:
    return request.POST.get("search", "").replace("\0", "").replace("\r\n", "\n")[:MAX_SEARCH].strip()


def search_everything(request: Any, text: str) -> Iterator[Hits]:
    yield from search_orders(request, text)
    if request.member.may(Role.MANAGER):
        yield from search_objects(request, text)
    yield search_pages(request, text)


def search_orders(request: Any, text: str) -> Iterator[Hits]:
    found = find(request.merchant.orders, text)
    orders: dict[int, Order] = {}
    with_code: dict[int, Order] = {}
    codes: dict[int, int] = {}
    customers: dict[str, Order] = {}
    for kind, matching in found.items():
        newest = matching.order_by("-pk").only(*ORDER_FIELDS)
        rows = list(newest[: MAX_ORDERS if kind in PERSONS else MAX_HITS + 1])
        (with_code if kind in CODES else orders).update((order.pk, order) for order in rows)
        codes |= find_codes(rows, kind, text)
        customers |= {order.email: order for order in rows if kind in PERSONS}
    more_url = url_of_found(request.merchant, found, text) if len(orders) > MAX_HITS else ""
    query = merchant_query(request)
    yield Hits(_("Orders"), [order_hit(order, query, {}) for order in first(orders)], more_url)
    yield Hits(_("Orders with this code"), [order_hit(order, query, codes) for order in first(with_code)])
    # A customer with one order is that order.
    yield Hits(_("Customers"), [customer_hit(order) for order in first(customers)] if len(orders) > 1 else [])


def first(found: dict[Any, Order]) -> Iterable[Order]:
    return list(found.values())[:MAX_HITS]


def order_hit(order: Order, query: dict[str, str], codes: dict[int, int]) -> Hit:
    note = f"{order.customer_name or order.email}, {order.get_status_display()}"
    return Hit(order.number, open_at(reverse("order", args=[order.key]), query, codes.get(order.pk)), note)


def open_at(url: str, query: dict[str, str], code: int | None) -> str:
    """The URL of an order page that opens at this code."""
    query = query | ({"code": str(code)} if code else {})
    return (f"{url}?{urlencode(query)}" if query else url) + (f"#code-{code}" if code else "")


def customer_hit(order: Order) -> Hit:
    query = urlencode({"q": order.email, "by": Kind.EMAIL.value})
    return Hit(order.email, f"{reverse('orders')}?{query}", order.customer_name)


def search_objects(request: Any, text: str) -> Iterator[Hits]:
    """Find what managers look after, by a part of the name. A key is found by its complete text."""
    merchant, part = request.merchant, clean(text)
    with_name, vendor = Q(name__icontains=part), merchant.vendor
    named: dict[Any, tuple[Text, QuerySet]] = {
        Product: (_("Products"), Product.objects.filter(with_name | Q(sku__icontains=part), merchant=vendor)),
        LicensePool: (_("Pools"), LicensePool.objects.filter(with_name, merchant=merchant)),
        Connection: (_("Shops"), Connection.objects.kept().filter(with_name, merchant=vendor)),
    }
    sources: list[Any] = list(Upstream.kinds().values())
    named |= {source: (_("Sources"), source.objects.filter(with_name, merchant=vendor)) for source in sources}
    rows = [
        queryset.order_by("name", "pk").values_list(Value(model._meta.label), "pk", "name")[:MAX_HITS]
        for model, (_title, queryset) in named.items()
    ]
    one, *others = rows
    found = list(one.union(*others, all=True))
    for model, (title, _queryset) in named.items():
        hits = [Hit(name, model(pk=pk).get_absolute_url()) for label, pk, name in found if label == model._meta.label]
        yield Hits(title, hits)
    keys = LicenseKey.objects.filter(pool__merchant=merchant).with_text(text).select_related("pool")[:MAX_HITS]
    yield Hits(_("Keys"), [key_hit(key) for key in keys])


def key_hit(key: LicenseKey) -> Hit:
    return Hit(
        key.pool.name, key.pool.get_absolute_url(), gettext("This key is {status}.").format(status=gettext(key.status))
    )


def search_pages(request: Any, text: str) -> Hits:
    words = clean(text).casefold().split()
    pages = open_to(request.member, [page for group in read_groups() for page in group.pages] + MORE)
    found = [page for page in pages if all(word in str(page.title).casefold() for word in words)]
    return Hits(_("Pages"), [Hit(page.title, page.url) for page in found[:MAX_HITS]])
