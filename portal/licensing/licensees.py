from contextlib import suppress
from typing import Any

from django.contrib import messages
from django.contrib.humanize.templatetags.humanize import intcomma
from django.core.paginator import Paginator
from django.db.models import Count, OuterRef, Prefetch, Q, QuerySet, Subquery, prefetch_related_objects
from django.db.models.functions import Coalesce, JSONObject
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from licensing import actions
from licensing.creation import create_licensee
from licensing.errors import LicensingError
from licensing.models import FailedValidation, License, Licensee, LicenseTemplate, LicensingProduct
from licensing.models.licensees import LicenseeQuerySet
from licensing.transfer import transfer
from licensing.validation import read_holding, validate
from orders.models import ActivationCode, Order
from orders.services import CodeWithdrawn
from orders.services import reveal as reveal_code
from portal.access import Role, member_required, scoped
from portal.confirm import Confirmation, Question, confirmed
from portal.licensing.forms import AddLicenseForm, LicenseeForm, LicenseeNameForm, LicenseForm, TransferForm
from portal.licensing.licensee_history import licensee_history
from portal.licensing.views import form_page
from portal.paging import KeysetPage
from portal.pools.views import read_number

MAX_FOUND = 50
LICENSES_PER_PAGE = 25
# The order that issued its number. There can be more if somebody entered the number by hand again; the first will do.
ORDERS = ActivationCode.objects.filter(
    fingerprint=OuterRef("fingerprint"), item__order__merchant=OuterRef("merchant")
).values(facts=JSONObject(id="item__order", number="item__order__number"))[:1]
LICENSEES = Licensee.objects.select_related("product").annotate(order=Subquery(ORDERS))
# Filters of the list.
STATES = {"": Q(), "marked": Q(marked_for_transfer=True), "inactive": Q(active=False)}


def get_licensees(request) -> LicenseeQuerySet:
    return Licensee.objects.filter(merchant=request.merchant).select_related("product", "merchant")


@never_cache
@member_required()
@require_http_methods(["GET", "HEAD", "POST"])
def licensees(request) -> HttpResponse:
    """List licensees. Searching is a POST, because numbers must not appear in URLs."""
    if request.method == "POST":
        return search(request, request.POST.get("search", "").replace("\0", "").strip())

    state = request.GET.get("state", "") if request.GET.get("state") in STATES else ""
    product = LicensingProduct.objects.filter(merchant=request.merchant, pk=read_number(request, "product")).first()
    found = get_licensees(request).filter(STATES[state], Q(product=product) if product else Q())
    cursors = {name: request.GET.get(name, "") for name in ("before", "after")}
    narrowed = f"product={product.pk}&" if product else ""
    page = KeysetPage(with_license_counts(found), "id", **cursors)
    context = {
        "product": product,
        "state": state,
        "states": STATES,
        "narrowed": narrowed,
        "page": page,
        "rows": page.rows,
        "query": narrowed + (f"state={state}&" if state else ""),
    }
    return show_list(request, **context)


def show_list(request, **context: Any) -> HttpResponse:
    context |= {"section": "licensing", "tab": "licensees"}
    return render(request, "portal/licensing/licensees.html", context)


def with_license_counts(licensees: QuerySet[Licensee]) -> QuerySet[Licensee]:
    """Annotate the number of licenses. Defers the licensee's number, which lists don't show."""
    licenses = License.objects.filter(licensee=OuterRef("pk")).order_by().values("licensee").annotate(n=Count("pk"))
    return licensees.defer("number").annotate(license_count=Coalesce(Subquery(licenses.values("n")), 0))


def search(request, text: str) -> HttpResponse:
    """Open the licensee with this number or alias, or list licensees whose name starts with the text."""
    if not text:
        return redirect("licensing")
    if found := get_licensees(request).with_number(text).first():
        return redirect(found)
    matches = with_license_counts(get_licensees(request).filter(name__istartswith=text)).order_by("name", "pk")[
        :MAX_FOUND
    ]
    return show_list(request, searched=text, rows=matches, max_found=MAX_FOUND)


@member_required(Role.MANAGER)
@confirmed
def add(request) -> Confirmation:
    form = LicenseeForm(request.merchant, request.POST or None, initial={"product": request.GET.get("product")})
    yield form_page(title=gettext("Add a licensee"), form=form, back="licensing")
    licensee = create_licensee(actor=str(request.user), **form.cleaned_data)
    messages.success(request, gettext("Licensee added."))
    return redirect(licensee)


@scoped(LICENSEES, Role.SUPPORT)
@require_safe
def licensee(request, licensee: Licensee) -> HttpResponse:
    return show(request, licensee)


@scoped(LICENSEES, Role.SUPPORT)
@require_POST
def reveal(request, licensee: Licensee) -> HttpResponse:
    """Show the number. If it is an activation code of an order, record this in the order's history, too."""
    number = actions.reveal(licensee, actor=str(request.user))
    for code in get_codes(licensee).select_related("item__order"):
        with suppress(CodeWithdrawn):
            reveal_code(code, actor=str(request.user))
    return show(request, licensee, number=number)


def get_codes(licensee: Licensee) -> QuerySet[ActivationCode]:
    return ActivationCode.objects.filter(fingerprint=licensee.fingerprint, item__order__merchant=licensee.merchant)


def show(request, licensee: Licensee, **context: Any) -> HttpResponse:
    licensee.order = Order(**licensee.order) if licensee.order else None  # type: ignore[attr-defined]
    # Not just one page: the validation below loads all of them anyway.
    licenses = License.objects.select_related("template__module").order_by("pk")
    prefetch_related_objects([licensee], Prefetch("licenses", licenses))
    rows = [(license, license.template) for license in reversed(licensee.licenses.all())]
    context |= {
        "section": "licensing",
        "licensee": licensee,
        "aliases": list(licensee.aliases.all()),
        "page": Paginator(rows, LICENSES_PER_PAGE).get_page(request.GET.get("page")),
        "results": validate(read_holding(licensee), dry_run=True),
        "failures": FailedValidation.objects.filter(licensee=licensee),
        "history": licensee_history(licensee),
        "may_change": request.member.may(Role.MANAGER),
    }
    return render(request, "portal/licensing/licensee.html", context)


@scoped(LICENSEES)
@confirmed
def change(request, licensee: Licensee) -> Confirmation:
    form = LicenseeNameForm(request.POST if request.method == "POST" else None, initial={"name": licensee.name})
    yield Question(title=gettext("Rename licensee"), button=gettext("Rename"), form=form)
    actions.rename(licensee, form.cleaned_data["name"], actor=str(request.user))
    return None


@scoped(LICENSEES)
@confirmed
def switch(request, licensee: Licensee, *, active: bool) -> Confirmation:
    if active:
        text, title = gettext("The licenses of {licensee} will be valid again."), gettext("Activate this licensee?")
    else:
        text = gettext("The licenses of {licensee} won’t be valid until you activate it again.")
        title = gettext("Deactivate this licensee?")
    yield ask_switch(title, text.format(licensee=licensee), active=active)
    if not actions.set_active(licensee, active, actor=str(request.user)):
        return None
    return gettext("Licensee activated.") if active else gettext("Licensee deactivated.")


def ask_switch(title: str, text: str, *, active: bool) -> Question:
    button = gettext("Activate") if active else gettext("Deactivate")
    return Question(title=title, text=text, button=button, danger=not active)


@scoped(LICENSEES)
@confirmed
def mark(request, licensee: Licensee, *, marked: bool) -> Confirmation:
    text = gettext("Anyone who knows the number can then move its licenses to their own licensee.")
    yield Question(
        title=gettext("Mark for transfer?") if marked else gettext("Remove transfer mark?"),
        text=text if marked else gettext("Its licenses can’t be transferred away anymore."),
        button=gettext("Mark for transfer") if marked else gettext("Remove mark"),
    )
    if actions.set_marked(licensee, marked, actor=str(request.user)):
        return gettext("Licensee marked for transfer.") if marked else gettext("Transfer mark removed.")
    return None


@scoped(LICENSEES)
@confirmed
def transfer_licenses(request, licensee: Licensee) -> Confirmation:
    form = TransferForm(licensee, request.POST or None)
    question = Question(
        title=gettext("Transfer licenses"),
        text=gettext(
            "This moves all licenses from one licensee to the other. They keep their numbers. The source has to be"
            " marked for transfer."
        ),
        button=gettext("Transfer"),
        form=form,
    )
    yield question
    target, source = form.get_target_and_source()
    try:
        count = len(transfer(target, source, actor=str(request.user)))
    except LicensingError as error:
        form.add_error(None, str(error.detail))
        yield question
    if count:
        done = ngettext(
            "{count} license transferred from {source} to {target}.",
            "{count} licenses transferred from {source} to {target}.",
            count,
        )
        return done.format(count=intcomma(count), source=source, target=target)
    messages.warning(request, gettext("{source} has no licenses to transfer.").format(source=source))
    return None


@scoped(LICENSEES)
@confirmed
def add_license(request, licensee: Licensee) -> Confirmation:
    available = LicenseTemplate.objects.filter(active=True, module__active=True, module__product__active=True)
    templates = available.filter(module__product=licensee.product_id).order_by("name", "pk")
    form = AddLicenseForm(templates, request.POST or None)
    text = gettext("The license copies the template’s current terms.")
    question = Question(title=gettext("Add a license"), text=text, button=gettext("Add license"), form=form)
    yield question
    try:
        license = actions.add_license(licensee, actor=str(request.user), **form.cleaned_data)
    except LicensingError as error:
        form.add_error(None, str(error.detail))
        yield question
    return gettext("License {number} added.").format(number=license.number)


def get_license(licensee: Licensee, pk: int) -> License:
    license = get_object_or_404(licensee.licenses.all(), pk=pk)
    license.licensee = licensee
    return license


@scoped(LICENSEES)
@confirmed
def change_license(request, licensee: Licensee, license: int) -> Confirmation:
    changed = get_license(licensee, license)
    form = LicenseForm(request.POST or None, instance=changed)
    question = form_page(title=gettext("Edit license {number}").format(number=changed.number), form=form)
    yield question
    try:
        actions.change_license(changed, fields=form.changed_data, actor=str(request.user))
    except LicensingError as error:
        form.add_error("parent_feature", str(error.detail))
        yield question
    return gettext("License {number} saved.").format(number=changed.number)


@scoped(LICENSEES)
@confirmed
def switch_license(request, licensee: Licensee, license: int, *, active: bool) -> Confirmation:
    switched = get_license(licensee, license)
    if active:
        text, title = gettext("{name} ({number}) will be valid again."), gettext("Activate this license?")
        done = gettext("License {number} activated.")
    else:
        text = gettext("{name} ({number}) won’t be valid until you activate it again.")
        title, done = gettext("Deactivate this license?"), gettext("License {number} deactivated.")
    yield ask_switch(title, text.format(name=switched.name, number=switched.number), active=active)
    changed = actions.set_license_active(switched, active, actor=str(request.user))
    return done.format(number=switched.number) if changed else None
