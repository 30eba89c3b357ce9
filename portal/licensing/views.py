"""What a merchant licenses: products, their modules, and the templates of the licenses that can be had."""

from django.contrib import messages
from django.db.models import Count, Prefetch, Q
from django.forms import ModelForm
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from fulfillment.sources.netlicensing.models import LicensePackage
from licensing import by_hand
from licensing.models import License, Licensee, LicenseTemplate, Product, ProductModule, Token
from portal.access import Role, member_required, scoped
from portal.confirm import Confirmation, Question, confirmed
from portal.licensing.forms import LicensingProductForm, ModuleForm, TemplateForm


@never_cache
@member_required(Role.MANAGER)
@require_safe
def products(request) -> HttpResponse:
    rows = Product.objects.filter(merchant=request.merchant).order_by("name", "pk").prefetch_related("modules")
    licensees = Licensee.objects.filter(merchant=request.merchant).order_by()
    counts = dict(licensees.values_list("product").annotate(Count("pk")))
    context = {"section": "licensing", "tab": "products", "rows": [(row, counts.get(row.pk, 0)) for row in rows]}
    return render(request, "portal/licensing_products.html", context)


@scoped(Product)
@require_safe
def product(request, product: Product) -> HttpResponse:
    templates = LicenseTemplate.objects.order_by("pk")
    context = {
        "section": "licensing",
        "product": product,
        "modules": product.modules.order_by("pk").prefetch_related(Prefetch("templates", templates)),
        "licensees": product.licensees.count(),
    }
    return render(request, "portal/licensing_product.html", context)


# Made, changed, and removed with all that hangs on it


def save(request, form: ModelForm, *, title: str, done: str, back: str = "") -> HttpResponse:
    if form.is_valid():
        saved = form.save()
        messages.success(request, done)
        return redirect(saved)
    context = {"section": "licensing", "form": form, "title": title, "cancel": back or reverse("licensed-products")}
    return render(request, "portal/licensing_form.html", context)


@member_required(Role.MANAGER)
@require_http_methods(["GET", "POST"])
def add_product(request) -> HttpResponse:
    form = LicensingProductForm(request.POST or None, instance=Product(merchant=request.merchant))
    return save(request, form, title="Add a product", done="Product added. Now add its modules.")


@scoped(Product)
@require_http_methods(["GET", "POST"])
def change_product(request, product: Product) -> HttpResponse:
    form = LicensingProductForm(request.POST or None, instance=product)
    return save(request, form, title="Edit the product", done="Product changed.", back=product.get_absolute_url())


@scoped(Product)
@require_http_methods(["GET", "POST"])
def add_module(request, product: Product) -> HttpResponse:
    form = ModuleForm(request.POST or None, instance=ProductModule(merchant=request.merchant, product=product))
    done = "Module added. Now add templates of the licenses that can be had for it."
    return save(request, form, title=f"Add a module to {product.name}", done=done, back=product.get_absolute_url())


@scoped(ProductModule.objects.select_related("product"))
@require_http_methods(["GET", "POST"])
def change_module(request, module: ProductModule) -> HttpResponse:
    form = ModuleForm(request.POST or None, instance=module)
    return save(request, form, title="Edit the module", done="Module changed.", back=module.get_absolute_url())


@scoped(ProductModule.objects.select_related("product"))
@require_http_methods(["GET", "POST"])
def add_template(request, module: ProductModule) -> HttpResponse:
    form = TemplateForm(request.POST or None, instance=LicenseTemplate(merchant=request.merchant, module=module))
    title = f"Add a license template to {module.name}"
    return save(request, form, title=title, done="Template added.", back=module.get_absolute_url())


@scoped(LicenseTemplate.objects.select_related("module__product"))
@require_http_methods(["GET", "POST"])
def change_template(request, template: LicenseTemplate) -> HttpResponse:
    form = TemplateForm(request.POST or None, instance=template)
    done = "Template changed. Licenses that were made of it stay as they are."
    return save(request, form, title="Edit the license template", done=done, back=template.get_absolute_url())


@scoped(Product)
@require_http_methods(["GET", "POST"])
def remove_product(request, product: Product) -> HttpResponse:
    licenses = License.objects.filter(licensee__product=product).count()
    templates = LicenseTemplate.objects.filter(module__product=product).count()
    counts = {"module": product.modules.count(), "template": templates}
    keys = Token.objects.filter(licensee__product=product, token_type=Token.Type.APIKEY).count()
    counts |= {"licensee": product.licensees.count(), "license": licenses, "API key": keys}
    sold = Q(product_number=product.number)
    return remove(request, product, "product", counts, sold, after=reverse("licensed-products"))


@scoped(ProductModule.objects.select_related("product"))
@require_http_methods(["GET", "POST"])
def remove_module(request, module: ProductModule) -> HttpResponse:
    licenses = License.objects.filter(template__module=module).count()
    counts = {"template": module.templates.count(), "license": licenses}
    sold = Q(templates__number__in=module.templates.values("number"))
    return remove(request, module, "module", counts, sold, after=module.get_absolute_url())


@scoped(LicenseTemplate.objects.select_related("module__product"))
@require_http_methods(["GET", "POST"])
def remove_template(request, template: LicenseTemplate) -> HttpResponse:
    counts = {"license": template.licenses.count()}
    sold = Q(templates__number=template.number)
    return remove(request, template, "license template", counts, sold, after=template.get_absolute_url())


@confirmed
def remove(request, thing, kind: str, counts: dict[str, int], sold: Q, *, after: str) -> Confirmation:
    """Remove it with all that hangs on it, once it has been said what that is, and what packages sell it."""

    gone = [f"{count:,} {name}{'' if count == 1 else 's'}" for name, count in counts.items() if count]
    along = f" With it go {' and '.join(gone)}, wherever they are in use." if gone else " Nothing hangs on it."
    # At our own service. What is elsewhere has numbers of its own.
    packages = LicensePackage.objects.filter(sold, merchant=request.merchant, account__address="").distinct()
    names = ", ".join(f"“{package}”" for package in packages)
    fails = f" Orders fail then that get their licenses by {names}." if names else ""
    yield Question(
        title=f"Remove the {kind}?",
        text=f"{thing.name} ({thing.number}) is removed for good.{along}{fails}",
        button="Remove",
        danger=True,
        then=after,
    )
    by_hand.remove(thing)
    return f"The {kind} {thing.name} is removed."
