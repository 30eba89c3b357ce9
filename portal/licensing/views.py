from functools import partial

from django.db.models import Count, Prefetch, Q
from django.forms import ModelForm
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext, ngettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from fulfillment.sources.netlicensing.models import LicensePackage
from licensing import actions
from licensing.models import License, Licensee, LicenseTemplate, LicensingProduct, ProductModule, Token
from portal.access import Role, member_required, scoped
from portal.confirm import Confirmation, Question, confirmed
from portal.licensing.forms import LicensingProductForm, ModuleForm, TemplateForm

for_module = scoped(ProductModule.objects.select_related("product"))
for_template = scoped(LicenseTemplate.objects.select_related("module__product"))


@never_cache
@member_required(Role.MANAGER)
@require_safe
def products(request) -> HttpResponse:
    rows = (
        LicensingProduct.objects.filter(merchant=request.merchant).order_by("name", "pk").prefetch_related("modules")
    )
    licensees = Licensee.objects.filter(merchant=request.merchant).order_by()
    counts = dict(licensees.values_list("product").annotate(Count("pk")))
    context = {"section": "licensing", "tab": "products", "rows": [(row, counts.get(row.pk, 0)) for row in rows]}
    return render(request, "portal/licensing/licensing_products.html", context)


@scoped(LicensingProduct)
@require_safe
def product(request, product: LicensingProduct) -> HttpResponse:
    templates = LicenseTemplate.objects.order_by("pk")
    context = {
        "section": "licensing",
        "product": product,
        "modules": product.modules.order_by("pk").prefetch_related(Prefetch("templates", templates)),
        "licensees": product.licensees.count(),
    }
    return render(request, "portal/licensing/licensing_product.html", context)


form_page = partial(Question, section="licensing", template="portal/licensing/licensing_form.html")


@confirmed
def save(
    request, place: LicensingProduct | ProductModule | LicenseTemplate, form: ModelForm, *, title: str, done: str
):
    yield form_page(title=title, form=form, then=form.instance)
    form.save()
    return done


@member_required(Role.MANAGER)
@confirmed
def add_product(request) -> Confirmation:
    form = LicensingProductForm(request.POST or None, instance=LicensingProduct(merchant=request.merchant))
    yield form_page(title=gettext("Add a product"), form=form, back="licensed-products", then=form.instance)
    form.save()
    return gettext("Product added. Next, add its modules.")


@scoped(LicensingProduct)
def change_product(request, product: LicensingProduct) -> HttpResponse:
    form = LicensingProductForm(request.POST or None, instance=product)
    return save(request, product, form, title=gettext("Edit product"), done=gettext("Product saved."))


@scoped(LicensingProduct)
def add_module(request, product: LicensingProduct) -> HttpResponse:
    form = ModuleForm(request.POST or None, instance=ProductModule(merchant=request.merchant, product=product))
    done = gettext("Module added. Next, add license templates to it.")
    return save(request, product, form, title=gettext("Add a module to {name}").format(name=product.name), done=done)


@for_module
def change_module(request, module: ProductModule) -> HttpResponse:
    form = ModuleForm(request.POST or None, instance=module)
    return save(request, module, form, title=gettext("Edit module"), done=gettext("Module saved."))


@for_module
def add_template(request, module: ProductModule) -> HttpResponse:
    form = TemplateForm(request.POST or None, instance=LicenseTemplate(merchant=request.merchant, module=module))
    return save(
        request,
        module,
        form,
        title=gettext("Add a license template to {name}").format(name=module.name),
        done=gettext("Template added."),
    )


@for_template
def change_template(request, template: LicenseTemplate) -> HttpResponse:
    form = TemplateForm(request.POST or None, instance=template)
    done = gettext("Template saved. Existing licenses don’t change.")
    return save(request, template, form, title=gettext("Edit license template"), done=done)


@scoped(LicensingProduct)
def remove_product(request, product: LicensingProduct) -> HttpResponse:
    licenses = License.objects.filter(licensee__product=product).count()
    templates = LicenseTemplate.objects.filter(module__product=product).count()
    counts = {"module": product.modules.count(), "template": templates}
    keys = Token.objects.filter(licensee__product=product, token_type=Token.Type.APIKEY).count()
    counts |= {"licensee": product.licensees.count(), "license": licenses, "API key": keys}
    sold = Q(product_number=product.number)
    return remove(request, product, counts, sold, after=reverse("licensed-products"))


@for_module
def remove_module(request, module: ProductModule) -> HttpResponse:
    licenses = License.objects.filter(template__module=module).count()
    counts = {"template": module.templates.count(), "license": licenses}
    sold = Q(templates__number__in=module.templates.values("number"))
    return remove(request, module, counts, sold, after=module.get_absolute_url())


@for_template
def remove_template(request, template: LicenseTemplate) -> HttpResponse:
    counts = {"license": template.licenses.count()}
    sold = Q(templates__number=template.number)
    return remove(request, template, counts, sold, after=template.get_absolute_url())


CONTENTS = {
    "module": ngettext_lazy("%(count)d module", "%(count)d modules", "count"),
    "template": ngettext_lazy("%(count)d template", "%(count)d templates", "count"),
    "licensee": ngettext_lazy("%(count)d licensee", "%(count)d licensees", "count"),
    "license": ngettext_lazy("%(count)d license", "%(count)d licenses", "count"),
    "API key": ngettext_lazy("%(count)d API key", "%(count)d API keys", "count"),
}


@confirmed
def remove(request, thing, counts: dict[str, int], sold: Q, *, after: str) -> Confirmation:
    """Confirm and remove an object with everything that belongs to it. The dialog names packages that sell it."""
    contents = ", ".join(CONTENTS[name] % {"count": count} for name, count in counts.items() if count)
    text = gettext("This permanently removes {name} ({number}).").format(name=thing.name, number=thing.number)
    if contents:
        text += " " + gettext("This also removes {contents}, even if they are in use.").format(contents=contents)
    # Only packages for our own service: numbers at other services are unrelated.
    packages = LicensePackage.objects.filter(sold, merchant=request.merchant, account__address="").distinct()
    names = ", ".join(f"“{package}”" for package in packages)
    if names:
        text += " " + gettext("Orders with the license package {names} will fail.").format(names=names)
    title, button = gettext("Remove “{name}”?").format(name=thing.name), gettext("Remove")
    yield Question(title=title, text=text, button=button, danger=True, then=after)
    actions.remove(thing)
    return gettext("“{name}” removed.").format(name=thing.name)
