"""A shop's products and what their buyers get."""

from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Count, F, Func, Prefetch, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from merchants.models import Product
from portal.confirm import Confirmation, Question, confirmed
from portal.paging import KeysetPage
from portal.shops.access import for_shop
from portal.shops.forms import MappingForm
from shops.changes import Cause
from shops.mapping import map_product
from shops.models import Connection, Event, ExternalProduct, ProductMapping

# The list's filters.
SHOWN = {"": _("Not mapped"), "mapped": _("Mapped"), "ignored": _("Not sold with a license")}


@for_shop
@require_safe
def products(request, shop: Connection) -> HttpResponse:
    chosen = request.GET.get("show", "")
    chosen = chosen if chosen in SHOWN else ""
    cursors = {name: request.GET.get(name, "") for name in ("before", "after")}
    mappings = Prefetch("mappings", ProductMapping.objects.select_related("product").order_by("pk"))
    page = KeysetPage(filter_products(shop, chosen).prefetch_related(mappings), "seen_at", **cursors)
    add_parked(shop, page.rows)
    context = {
        "section": "shops",
        "shop": shop,
        "page": page,
        "chosen": chosen,
        "filters": SHOWN,
        "query": f"show={chosen}&" if chosen else "",
    }
    return render(request, "portal/shops/products.html", context)


def filter_products(shop: Connection, chosen: str) -> QuerySet[ExternalProduct]:
    rows = shop.external_products.all()
    if chosen == "ignored":
        return rows.filter(ignored=True)
    return rows.mapped() if chosen == "mapped" else rows.exclude(pk__in=rows.decided())


def add_parked(shop: Connection, rows: list[Any]) -> None:
    """Set `parked` of each product to the number of events that wait for it, and `same_sku` to a product of ours."""
    names = [row.external_id for row in rows]
    waiting = shop.events.filter(state=Event.State.PARKED, cause=Cause.UNMAPPED, waits_for__overlap=names)
    each = waiting.annotate(name=Func(F("waits_for"), function="unnest")).values("name").order_by()
    counts = dict(each.annotate(count=Count("pk")).values_list("name", "count")) if names else {}
    skus = {row.sku: row for row in Product.objects.filter(merchant=shop.merchant, sku__in=names)}
    for row in rows:
        row.parked, row.same_sku = counts.get(row.external_id, 0), skus.get(row.external_id)


def ask(shop: Connection, form: MappingForm, title: str) -> Question:
    return Question(
        title=title,
        button=gettext("Save"),
        section="shops",
        form=form,
        template="portal/shops/product_form.html",
        back=reverse("shop-products", args=[shop.pk]),
    )


def save(shop: Connection, external_id: str, form: MappingForm) -> str:
    data = form.cleaned_data
    settings = {name: data[name] for name in ("ignored", "hold_hours")}
    count = map_product(shop, external_id, form.wanted, **settings)
    if not count:
        return gettext("Product saved.")
    text = ngettext(
        "Product saved. {count} parked event is being processed.",
        "Product saved. {count} parked events are being processed.",
        count,
    )
    return text.format(count=intcomma(count))


@for_shop
@confirmed
def add(request, shop: Connection) -> Confirmation:
    form = MappingForm(shop.merchant, request.POST or None)
    yield ask(shop, form, gettext("Add a product of the shop"))
    return save(shop, form.cleaned_data["external_id"], form)


@for_shop
@confirmed
def change(request, shop: Connection, external: int) -> Confirmation:
    row = get_object_or_404(shop.external_products, pk=external)
    form = MappingForm(shop.merchant, request.POST or None, external=row)
    yield ask(shop, form, gettext("What do buyers of {product} get?").format(product=row))
    return save(shop, row.external_id, form)
