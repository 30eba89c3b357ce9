"""Finds orders, customers, merchants, people, products, pools, codes and pages of all merchants, for support staff."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from django.db.models import Model, Q, QuerySet, Value
from django.http import HttpRequest, HttpResponse
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from licensing.models import Licensee
from merchants.models import ApiKey, Member, Merchant, Product, User
from orders.models import Order
from orders.search import CODES, clean, find, find_codes, is_secret, text_for_url
from outbound.models import Upstream
from pools.models import LicenseKey, LicensePool
from portal.navigation import Text
from portal.search import (
    MAX_HITS,
    MAX_ORDERS,
    ORDER_FIELDS,
    PERSONS,
    Hit,
    Hits,
    first,
    open_at,
    read_text,
    show_found,
)
from portal.staff.navigation import list_url, may_view, object_url
from shops.models import Connection
from work.models import Incident


def search(site: Any, request: HttpRequest) -> HttpResponse:
    """Search by a posted text, so that no license and no address gets into a URL."""
    text = read_text(request)
    context = site.each_context(request) | {"title": gettext("Search")}
    return show_found(request, text, search_everything(site, request, text), "admin/search.html", **context)


def search_everything(site: Any, request: HttpRequest, text: str) -> Iterator[Hits]:
    def may(model: type[Model]) -> bool:
        return may_view(site, request, model)

    if may(Order):
        yield from search_orders(text)
    yield from search_names(text, may)
    if may(User):
        yield search_people(text, shows_roles=request.user.has_perm("merchants.view_member"))
    yield from search_secrets(text, may)
    yield search_tables(site, request, text)


def search_orders(text: str) -> Iterator[Hits]:
    orders: dict[int, Order] = {}
    with_code: dict[int, Order] = {}
    codes: dict[int, int] = {}
    customers: dict[str, list[Order]] = {}
    more_url = ""
    for kind, matching in find(Order.objects.all(), text).items():
        newest = (
            matching.order_by("-pk").select_related("merchant").only(*ORDER_FIELDS, "merchant__name", "merchant__live")
        )
        rows = list(newest[: MAX_ORDERS if kind in PERSONS else MAX_HITS + 1])
        (with_code if kind in CODES else orders).update((order.pk, order) for order in rows)
        codes |= find_codes(rows, kind, text)
        if kind in PERSONS:
            for order in rows:
                customers.setdefault(order.email, []).append(order)
        elif len(rows) > MAX_HITS and not is_secret(kind, text):
            more_url = f"{list_url(Order)}?{urlencode({'q': text_for_url(kind, matching, text), 'by': kind.value})}"
    if customers and len(orders) > MAX_HITS:
        more_url = url_of(list(orders.values()))
    yield Hits(
        _("Orders"), [order_hit(order, {}) for order in first(orders)], more_url if len(orders) > MAX_HITS else ""
    )
    yield Hits(_("Orders with this code"), [order_hit(order, codes) for order in first(with_code)])
    # A customer with one order is that order.
    found = list(customers.items())[:MAX_HITS] if len(orders) > 1 else []
    yield Hits(_("Customers"), [Hit(email, url_of(rows), rows[0].customer_name) for email, rows in found])


def url_of(orders: list[Order]) -> str:
    """The list of these orders, without what they were found by."""
    return f"{list_url(Order)}?id__in={','.join(str(order.pk) for order in orders)}"


def order_hit(order: Order, codes: dict[int, int]) -> Hit:
    note = f"{order.merchant} · {order.customer_name or order.email}, {order.get_status_display()}"
    return Hit(order.number, open_at(object_url(Order, order.pk), {}, codes.get(order.pk)), note)


def search_names(text: str, may: Any) -> Iterator[Hits]:
    """Find what has a name, by a part of it, with its merchant."""
    part = clean(text)
    named = Q(name__icontains=part)
    kinds: dict[Any, tuple[Text, QuerySet]] = {
        Merchant: (_("Merchants"), Merchant.objects.live().filter(named | Q(slug__icontains=part))),
        Product: (_("Products"), Product.objects.filter(named | Q(sku__icontains=part))),
        LicensePool: (_("Pools"), LicensePool.objects.filter(named)),
        Connection: (_("Shops"), Connection.objects.kept().filter(named)),
    }
    sources: list[Any] = list(Upstream.kinds().values())
    kinds |= {source: (_("Sources"), source.objects.filter(named)) for source in sources}
    kinds = {model: found for model, found in kinds.items() if may(model)}
    rows = [
        queryset.order_by("name", "pk").values_list(
            Value(model._meta.label), "pk", "name", "slug" if model is Merchant else "merchant__name"
        )[:MAX_HITS]
        for model, (_title, queryset) in kinds.items()
    ]
    if not rows:
        return
    found = list(rows[0].union(*rows[1:], all=True))
    for model, (title, _queryset) in kinds.items():
        own = [row for row in found if row[0] == model._meta.label]
        yield Hits(title, [Hit(name, object_url(model, pk), note) for _label, pk, name, note in own])


def search_people(text: str, *, shows_roles: bool) -> Hits:
    words = clean(text).split()[:5]
    people = User.objects.order_by("email")
    for word in words:
        people = people.filter(Q(email__icontains=word) | Q(first_name__icontains=word) | Q(last_name__icontains=word))
    found = list(people[:MAX_HITS])
    members = Member.objects.filter(user__in=found).select_related("merchant").order_by("pk")
    members = members if shows_roles else members.none()
    merchants: dict[int, list[str]] = {}
    for member in members:
        merchants.setdefault(member.user_id, []).append(f"{member.get_role_display()}, {member.merchant}")
    notes = {user: merchants.get(user.pk, [gettext("support staff")] if user.is_staff else []) for user in found}
    return Hits(_("People"), [Hit(str(user), object_url(User, user.pk), " · ".join(notes[user])) for user in found])


def search_secrets(text: str, may: Any) -> Iterator[Hits]:
    """Find what a complete secret, or a reference, identifies."""
    if may(LicenseKey):
        keys = LicenseKey.objects.with_text(text).select_related("pool__merchant")[:MAX_HITS]
        yield Hits(_("Keys"), [key_hit(key) for key in keys])
    if may(Licensee):
        licensees = Licensee.objects.with_number(text.strip()).defer("number").select_related("merchant")[:MAX_HITS]
        yield Hits(
            _("Licensees"),
            [Hit(f"••••{row.hint}", object_url(Licensee, row.pk), row.merchant.name) for row in licensees],
        )
    if may(ApiKey):
        # Its first part, or all of it.
        prefix = text.strip().removeprefix("kw_").removeprefix("test_").partition("_")[0]
        api_keys = ApiKey.objects.filter(prefix=prefix).select_related("merchant")
        yield Hits(_("API keys"), [Hit(key.name, object_url(ApiKey, key.pk), str(key.merchant)) for key in api_keys])
    if may(Incident):
        incidents = Incident.objects.filter(reference__iexact=clean(text))
        yield Hits(_("Incidents"), [Hit(row.reference, object_url(Incident, row.pk), row.error) for row in incidents])


def key_hit(key: LicenseKey) -> Hit:
    note = gettext("This key is {status}.").format(status=gettext(key.status))
    return Hit(f"{key.pool} · {key.pool.merchant}", object_url(LicenseKey, key.pk), note)


def search_tables(site: Any, request: HttpRequest, text: str) -> Hits:
    words = clean(text).casefold().split()
    tables = {str(capfirst(model._meta.verbose_name_plural)): model for model in site._registry}
    found = [
        Hit(title, list_url(model))
        for title, model in sorted(tables.items())
        if all(word in title.casefold() for word in words) and may_view(site, request, model)
    ]
    return Hits(_("Pages"), found[:MAX_HITS])
