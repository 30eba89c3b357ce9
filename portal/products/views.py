from collections import defaultdict
from typing import Any

from django.contrib import messages
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db import IntegrityError
from django.db.models import Prefetch
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from fulfillment import product_sources
from fulfillment.models import FulfillmentMethod
from fulfillment.new_products import KeysRefused, add_product
from fulfillment.sources.pool.models import PoolMethod
from merchants.models import Product
from pools.models import KeyImport, LicensePool
from portal.access import Role, member_required, scoped
from portal.confirm import Confirmation, Question, confirmed
from portal.products.forms import ProductForm, SourceForm, StockForm
from work.bodies import takes_files

for_product = scoped(Product)


@never_cache
@member_required(Role.MANAGER)
@require_safe
def products(request) -> HttpResponse:
    methods = FulfillmentMethod.objects.with_places().order_by("position")
    sources = Prefetch("fulfillment_methods", methods)
    context = {
        "section": "products",
        "products": request.merchant.products.prefetch_related(sources).order_by("name", "sku"),
        "shared": get_shared(request.merchant),
        "for_all": FulfillmentMethod.objects.for_all(Product(merchant=request.merchant)),
    }
    return render(request, "portal/products/products.html", context)


def get_shared(merchant) -> set[int]:
    """Return the primary keys of methods whose pool also serves another product."""
    methods: dict[int, dict[int, int]] = defaultdict(dict)
    uses = PoolMethod.objects.filter(product__merchant=merchant)
    for pk, pool, product in uses.values_list("pk", "pool", "product"):
        methods[pool][product] = pk
    return {pk for users in methods.values() if len(users) > 1 for pk in users.values()}


@takes_files
@never_cache
@member_required(Role.MANAGER)
@require_http_methods(["GET", "POST"])
def add(request) -> HttpResponse:
    form = ProductForm(request.POST or None, instance=Product(merchant=request.merchant))
    stock = StockForm(request.merchant, request.POST or None, request.FILES or None)
    if all([form.is_valid(), stock.is_valid()]):  # a list, to show the errors of both
        response = add_with_stock(request, form, stock)
        if response:
            return response
    context = {"section": "products", "form": form, "stock": stock}
    return render(request, "portal/products/product_add.html", context)


def add_with_stock(request, form: ProductForm, stock: StockForm) -> HttpResponse | None:
    """Add the product with its pool and keys, all or nothing. Return None if that fails; then a form has errors."""
    name = form.cleaned_data["name"]
    stock.refuse_used_name(name)
    if stock.errors:
        return None

    pool, keys = stock.get_pool(name), stock.get_keys()
    try:
        key_import = add_product(form.instance, pool=pool, keys=keys, actor=str(request.user))
    except KeysRefused as error:
        stock.refuse_keys(str(error))
        return None
    except IntegrityError:  # its SKU or its name is used now, as after a second click
        form.full_clean()
        stock.refuse_used_name(name)
        return None
    return after_adding(request, form.instance, pool, key_import)


def after_adding(request, product: Product, pool: LicensePool | None, key_import: KeyImport | None) -> HttpResponse:
    if pool is None:
        messages.success(request, gettext("Product added. Now add a source for its codes."))
    elif key_import is None:
        messages.success(request, gettext("Product added with the pool “{pool}”.").format(pool=pool))
    elif key_import.batch:
        count = key_import.batch.key_count
        text = ngettext("Product added with {count} key.", "Product added with {count} keys.", count)
        messages.success(request, text.format(count=intcomma(count)))
    else:
        messages.success(request, gettext("Product added. Check its keys below before they are imported."))
        return redirect(key_import)
    return redirect(product)


@for_product
@require_safe
def product(request, product: Product) -> HttpResponse:
    return show(request, product, SourceForm(product))


def show(request, product: Product, form: SourceForm) -> HttpResponse:
    others = PoolMethod.objects.exclude(product=product).select_related("product").order_by("product__name")
    shared = Prefetch("poolmethod__pool__fulfillment_methods", others, to_attr="other_methods")
    methods = product.fulfillment_methods.with_places().prefetch_related(shared).order_by("position")
    places = [method.kind.place for method in methods]
    pools: dict[int, Any] = {place.pk: place for place in places if isinstance(place, LicensePool)}
    for pool in product.merchant.pools.filter(pk__in=pools).with_stock() if pools else ():
        pools[pool.pk].available = pool.available
    context = {
        "section": "products",
        "product": product,
        "methods": methods,
        "for_all": [] if methods else FulfillmentMethod.objects.for_all(product),
        "form": form,
    }
    return render(request, "portal/products/product.html", context)


@for_product
@require_http_methods(["GET", "POST"])
def change(request, product: Product) -> HttpResponse:
    form = ProductForm(request.POST or None, instance=product)
    if form.is_valid():
        product.save(update_fields=form.changed_data)
        messages.success(request, gettext("Product changed. Existing orders aren’t affected."))
        return redirect(product)
    cancel = product.get_absolute_url()
    context = {"section": "products", "form": form, "title": gettext("Edit product"), "cancel": cancel}
    return render(request, "portal/products/product_form.html", context)


# Sources


@for_product
@require_POST
def add_source(request, product: Product) -> HttpResponse:
    form = SourceForm(product, request.POST)
    if not form.is_valid():
        return show(request, product, form)
    chosen = form.get_source()
    method = product_sources.add_source(product, chosen.source, chosen.kind.place)
    messages.success(request, gettext("Added: {method}. Waiting orders will use it now.").format(method=method))
    return redirect(product)


@for_product
@require_POST
def move_up(request, product: Product, method: int) -> HttpResponse:
    moved = get_object_or_404(product.fulfillment_methods.select_related("product").with_places(), pk=method)
    product_sources.move_up(moved)
    messages.success(request, gettext("Moved up: {moved}.").format(moved=moved))
    return redirect(product)


@for_product
@confirmed
def remove_source(request, product: Product, method: int) -> Confirmation:
    methods = product.fulfillment_methods.select_related("product").with_places()
    removed = get_object_or_404(methods, pk=method)
    yield Question(
        title=gettext("Remove this source?"),
        text=gettext("{name} will stop taking codes from {removed}. A pool keeps its keys.").format(
            name=product.name, removed=removed
        ),
        button=gettext("Remove source"),
        danger=True,
    )
    product_sources.remove_source(removed)
    return gettext("{removed} removed from {name}.").format(removed=removed, name=product.name)
