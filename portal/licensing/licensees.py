from contextlib import suppress
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, OuterRef, Prefetch, Q, QuerySet, Subquery, prefetch_related_objects
from django.db.models.functions import Coalesce, JSONObject
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
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

FOUND_SHOWN = 50
LICENSES_SHOWN = 25
# Of the orders that gave out its number: one, unless somebody entered it by hand again.
ORDERS = ActivationCode.objects.filter(
    fingerprint=OuterRef("fingerprint"), item__order__merchant=OuterRef("merchant")
).values(facts=JSONObject(id="item__order", number="item__order__number"))[:1]
LICENSEES = Licensee.objects.select_related("product").annotate(order=Subquery(ORDERS))
# The list can be narrowed to these.
STATES = {"": Q(), "marked": Q(marked_for_transfer=True), "inactive": Q(active=False)}


def licensees_of(request) -> LicenseeQuerySet:
    return Licensee.objects.filter(merchant=request.merchant).select_related("product", "merchant")


@never_cache
@member_required()
@require_http_methods(["GET", "HEAD", "POST"])
def licensees(request) -> HttpResponse:
    """The merchant's licensees. A POST looks one up: a number, or what may be one, never stands in an address."""
    if request.method == "POST":
        return search(request, request.POST.get("search", "").replace("\0", "").strip())

    state = request.GET.get("state", "") if request.GET.get("state") in STATES else ""
    product = LicensingProduct.objects.filter(merchant=request.merchant, pk=read_number(request, "product")).first()
    found = licensees_of(request).filter(STATES[state], Q(product=product) if product else Q())
    cursors = {name: request.GET.get(name, "") for name in ("before", "after")}
    narrowed = f"product={product.pk}&" if product else ""
    page = KeysetPage(counted(found), "id", **cursors)
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


def counted(licensees: QuerySet[Licensee]) -> QuerySet[Licensee]:
    """Each with the number of its licenses, and without its own, which lists do not show."""
    licenses = License.objects.filter(licensee=OuterRef("pk")).order_by().values("licensee").annotate(n=Count("pk"))
    return licensees.defer("number").annotate(license_count=Coalesce(Subquery(licenses.values("n")), 0))


def search(request, text: str) -> HttpResponse:
    """The licensee of this number or alias, or else those whose name begins like this."""
    if not text:
        return redirect("licensing")
    if found := licensees_of(request).called(text).first():
        return redirect(found)
    named = counted(licensees_of(request).filter(name__istartswith=text)).order_by("name", "pk")[:FOUND_SHOWN]
    return show_list(request, searched=text, rows=named, most=FOUND_SHOWN)


@member_required(Role.MANAGER)
@confirmed
def add(request) -> Confirmation:
    form = LicenseeForm(request.merchant, request.POST or None, initial={"product": request.GET.get("product")})
    yield form_page(title="Add a licensee", form=form, back="licensing")
    licensee = create_licensee(actor=str(request.user), **form.cleaned_data)
    messages.success(request, "Licensee added.")
    return redirect(licensee)


@scoped(LICENSEES, Role.SUPPORT)
@require_safe
def licensee(request, licensee: Licensee) -> HttpResponse:
    return show(request, licensee)


@scoped(LICENSEES, Role.SUPPORT)
@require_POST
def reveal(request, licensee: Licensee) -> HttpResponse:
    """Show its number. Where it is an order's activation code, that order's history tells of it, too."""
    number = actions.reveal(licensee, actor=str(request.user))
    for code in codes_of(licensee).select_related("item__order"):
        with suppress(CodeWithdrawn):
            reveal_code(code, actor=str(request.user))
    return show(request, licensee, number=number)


def codes_of(licensee: Licensee) -> QuerySet[ActivationCode]:
    return ActivationCode.objects.filter(fingerprint=licensee.fingerprint, item__order__merchant=licensee.merchant)


def show(request, licensee: Licensee, **context: Any) -> HttpResponse:
    licensee.order = Order(**licensee.order) if licensee.order else None  # type: ignore[attr-defined]
    # A validation looks at all of them anyway.
    licenses = License.objects.select_related("template__module").order_by("pk")
    prefetch_related_objects([licensee], Prefetch("licenses", licenses))
    rows = [(license, license.template) for license in reversed(licensee.licenses.all())]
    context |= {
        "section": "licensing",
        "licensee": licensee,
        "aliases": list(licensee.aliases.all()),
        "page": Paginator(rows, LICENSES_SHOWN).get_page(request.GET.get("page")),
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
    yield Question(title="Rename the licensee", button="Save", form=form)
    actions.rename(licensee, form.cleaned_data["name"], actor=str(request.user))
    return None


@scoped(LICENSEES)
@confirmed
def switch(request, licensee: Licensee, *, active: bool) -> Confirmation:
    text = "count again" if active else "do not count any more, until it is activated again"
    yield ask_switch(f"The licenses of {licensee} {text}.", active=active)
    changed = actions.set_active(licensee, active, actor=str(request.user))
    return f"The licensee is {'active again' if active else 'inactive'}." if changed else None


def ask_switch(text: str, *, active: bool) -> Question:
    act = "Activate" if active else "Deactivate"
    return Question(title=f"{act}?", text=text, button=act, danger=not active)


@scoped(LICENSEES)
@confirmed
def mark(request, licensee: Licensee, *, marked: bool) -> Confirmation:
    text = "Whoever knows its number can then move its licenses to a licensee of their own."
    yield Question(
        title="Mark for transfer?" if marked else "Remove the mark?",
        text=text if marked else "Nobody can transfer its licenses away any more.",
        button="Mark" if marked else "Remove the mark",
    )
    if actions.set_mark(licensee, marked, actor=str(request.user)):
        return "The licensee is marked." if marked else "The mark is removed."
    return None


@scoped(LICENSEES)
@confirmed
def transfer_licenses(request, licensee: Licensee) -> Confirmation:
    form = TransferForm(licensee, request.POST or None)
    question = Question(
        title="Transfer licenses",
        text="All licenses of the one move to the other, and keep their numbers. The one that gives them has to be"
        " marked for transfer.",
        button="Transfer",
        form=form,
    )
    yield question
    target, source = form.ends()
    try:
        count = len(transfer(target, source, actor=str(request.user)))
    except LicensingError as error:
        form.add_error(None, str(error.detail))
        yield question
    if count:
        licenses = f"{count:,} license{'' if count == 1 else 's'}"
        return f"{licenses} moved from {source} to {target}. It is in the history of both."
    messages.warning(request, f"{source} has no licenses, so none moved.")
    return None


@scoped(LICENSEES)
@confirmed
def add_license(request, licensee: Licensee) -> Confirmation:
    on_offer = LicenseTemplate.objects.filter(active=True, module__active=True, module__product__active=True)
    templates = on_offer.filter(module__product=licensee.product_id).order_by("name", "pk")
    form = AddLicenseForm(templates, request.POST or None)
    text = "It grants what its template grants at this moment."
    question = Question(title="Add a license", text=text, button="Add", form=form)
    yield question
    try:
        made = actions.add_license(licensee, actor=str(request.user), **form.cleaned_data)
    except LicensingError as error:
        form.add_error(None, str(error.detail))
        yield question
    return f"License {made.number} added."


def get_license(licensee: Licensee, pk: int) -> License:
    license = get_object_or_404(licensee.licenses.all(), pk=pk)
    license.licensee = licensee
    return license


@scoped(LICENSEES)
@confirmed
def change_license(request, licensee: Licensee, license: int) -> Confirmation:
    changed = get_license(licensee, license)
    form = LicenseForm(request.POST or None, instance=changed)
    question = form_page(title=f"Edit license {changed.number}", form=form)
    yield question
    try:
        actions.change_license(changed, fields=form.changed_data, actor=str(request.user))
    except LicensingError as error:
        form.add_error("parent_feature", str(error.detail))
        yield question
    return f"License {changed.number} changed."


@scoped(LICENSEES)
@confirmed
def switch_license(request, licensee: Licensee, license: int, *, active: bool) -> Confirmation:
    switched = get_license(licensee, license)
    text = "counts again" if active else "does not count any more, until it is activated again"
    yield ask_switch(f"{switched.name} ({switched.number}) {text}.", active=active)
    changed = actions.set_license_active(switched, active, actor=str(request.user))
    return f"License {switched.number} is {'active again' if active else 'inactive'}." if changed else None
