"""The checkout pages that a shop reports. Owners manage them."""

from functools import partial

from django.contrib import messages
from django.db.models import Exists, OuterRef
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from merchants.models import CheckoutPage
from orders.checkout_pages import add_checkout_page, change_checkout_page, remove_checkout_page
from orders.models import Order
from portal.access import Role, member_required, scoped
from portal.checkout_pages.forms import CheckoutPageForm
from portal.confirm import Confirmation, Question, confirmed
from portal.saving import save_once

for_page = scoped(CheckoutPage, Role.OWNER)


@never_cache
@member_required(Role.OWNER)
@require_safe
def checkout_pages(request) -> HttpResponse:
    has_orders = Exists(Order.objects.filter(checkout_page=OuterRef("pk")))
    pages = request.merchant.checkout_pages.annotate(has_orders=has_orders).order_by("code")
    return render(request, "portal/checkout_pages/checkout_pages.html", {"section": "checkout-pages", "pages": pages})


@member_required(Role.OWNER)
@require_http_methods(["GET", "POST"])
def add(request) -> HttpResponse:
    form = CheckoutPageForm(request.POST or None, instance=CheckoutPage(merchant=request.merchant))
    if form.is_valid() and save_once(form, partial(add_checkout_page, request.merchant, **form.cleaned_data)):
        messages.success(request, gettext("Checkout page “{page}” added.").format(page=form.instance))
        return redirect("checkout-pages")
    return show_form(request, form, gettext("Add a checkout page"))


@for_page
@require_http_methods(["GET", "POST"])
def change(request, page: CheckoutPage) -> HttpResponse:
    title = gettext("Edit checkout page “{page}”").format(page=page)
    form = CheckoutPageForm(request.POST or None, instance=page)
    if form.is_valid() and save_once(form, partial(change_checkout_page, page, **form.cleaned_data)):
        messages.success(request, gettext("Checkout page changed."))
        return redirect("checkout-pages")
    return show_form(request, form, title)


def show_form(request, form: CheckoutPageForm, title: str) -> HttpResponse:
    context = {"section": "checkout-pages", "form": form, "title": title, "cancel": reverse("checkout-pages")}
    return render(request, "portal/checkout_pages/checkout_page_form.html", context)


@for_page
@confirmed
def remove(request, page: CheckoutPage) -> Confirmation:
    yield Question(
        title=gettext("Remove the checkout page “{page}”?").format(page=page),
        text=gettext("Payments that report the code “{code}” will be refused.").format(code=page.code),
        button=gettext("Remove page"),
        danger=True,
        section="checkout-pages",
    )
    remove_checkout_page(page)
    return gettext("Checkout page “{page}” removed.").format(page=page)
