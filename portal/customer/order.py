"""A customer's own page of an order, for whoever holds its link."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from babel import Locale
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation
from django.utils.translation import get_language_from_request, gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from delivery.composition import instructions
from delivery.resending import ResendRefused, TooManyMails, send_again
from fulfillment.models import Fulfillment
from fulfillment.sources.base import Source
from orders.kinds import SOURCES
from orders.localization import format_day, format_money, format_wait, get_locale
from orders.models import ActivationCode, Order, OrderItem
from orders.services import OrderClosed, show_to_customer
from portal.orders.page import read_number

CODES_SHOWN = 50


def behind_a_link(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A page whose address is its key: it is not kept, indexed or told to other sites.

    The check against forged requests is left out. It protects those who are signed in from what other sites make their
    browsers do; here no session and no cookie gives any right. And it would refuse everybody: from a page that keeps
    its address to itself browsers send `Origin: null`.
    """

    @csrf_exempt
    @never_cache
    @wraps(view)
    def discreet(*args, **kwargs):
        response = view(*args, **kwargs)
        response["Referrer-Policy"] = "no-referrer"
        response["X-Robots-Tag"] = "noindex, nofollow"
        return response

    return discreet


@behind_a_link
@require_http_methods(["GET", "HEAD", "POST"])
def customer_order(request: HttpRequest, token: str) -> HttpResponse:
    orders = Order.objects.with_link_token(token).filter(status=Order.Status.PAID)
    order = orders.select_related("merchant", "checkout_page").first()
    if order is None:
        return gone(request)

    visit = Visit(request, order)
    act = ACTIONS.get(request.POST.get("act", ""), show_masked)
    with translation.override(visit.language):
        try:
            return act(visit)
        except (OrderClosed, ResendRefused):
            return redirect(visit.url())  # where one sees what forbids it meanwhile


def gone(request: HttpRequest) -> HttpResponse:
    """The one answer to all links that lead nowhere, whatever the reason."""
    language = get_language_from_request(request)
    with translation.override(language):
        return HttpResponse(render_to_string("customer/gone.html", {"language": language}), status=404)


class Visit:
    def __init__(self, request: HttpRequest, order: Order) -> None:
        self.order = order
        self.path = request.path
        self.chosen = chosen_language(request)
        self.language = self.chosen or order.customer_language
        self.locale = get_locale(self.chosen or order.language, order.country)
        self.first = max(1, read_number(request, "from"))

    def url(self, **query: Any) -> str:
        query = {"language": self.chosen, "from": self.first} | query
        query = {name: value for name, value in query.items() if value not in ("", 1)}
        return f"{self.path}?{urlencode(query)}" if query else self.path


def chosen_language(request: HttpRequest) -> str:
    language = request.GET.get("language", "")
    return language if language in dict(settings.LANGUAGES) else ""


def show_masked(visit: Visit, **context: Any) -> HttpResponse:
    codes = visit.order.codes().defer("code")[visit.first - 1 :][:CODES_SHOWN]
    return show(visit, list(codes), **context)


def show_unmasked(visit: Visit) -> HttpResponse:
    return show(visit, show_to_customer(visit.order, visit.first, CODES_SHOWN), unmasked=True)


def send(visit: Visit) -> HttpResponse:
    address = masked(visit.order.email)
    try:
        _, new = send_again(visit.order)
    except TooManyMails as error:
        text = gettext("Your licenses were sent several times already. They can be sent again %(when)s.")
        response = show_masked(visit, refusal=text % {"when": format_wait(error.wait, visit.locale)})
        response.status_code = 429
        return response
    if new:
        text = gettext("An e-mail with your licenses is on its way to %(address)s.")
    else:
        text = gettext("An e-mail with your licenses was sent to %(address)s just now, or is about to be.")
    return show_masked(visit, success=text % {"address": address})


ACTIONS: dict[str, Callable[[Visit], HttpResponse]] = {"show": show_unmasked, "send": send}


def show(visit: Visit, codes: list[ActivationCode], **context: Any) -> HttpResponse:
    order, first = visit.order, visit.first
    items = show_items(order, codes, visit.locale)
    saved = sum(shown.saved for shown in items)
    context |= {
        "order": order,
        "paid_on": format_day(order.paid_by_shop_clock, visit.locale) if order.paid_by_shop_clock else "",
        "masked_address": masked(order.email),
        "items": items,
        "saved": saved,
        "first": first,
        "last": first + len(codes) - 1,
        "here": visit.url(),
        "before": visit.url(**{"from": max(1, first - CODES_SHOWN)}) if first > 1 else "",
        "after": visit.url(**{"from": first + CODES_SHOWN}) if first + CODES_SHOWN <= saved else "",
        "lost_key": f"{reverse('lost-key', args=[order.merchant.slug])}?language={visit.language}",
        "language": visit.language,
        "languages": [(code, name, visit.url(language=code)) for code, name in settings.LANGUAGES],
    }
    return HttpResponse(render_to_string("customer/order.html", context))


@dataclass(frozen=True)
class CustomerItem:
    item: OrderItem
    price: str
    codes: list[ActivationCode]
    saved: int
    missing: int
    why_missing: str
    instructions: str


def show_items(order: Order, codes: list[ActivationCode], locale: Locale) -> list[CustomerItem]:
    by_item = defaultdict(list)
    for code in codes:
        by_item[code.item_id].append(code)
    items = (
        order.items.select_related("product", "fulfillment")
        .prefetch_related("product__fulfillment_methods")
        .with_code_count()
        .order_by("pk")
    )
    return [
        CustomerItem(
            item,
            format_money(item.total_price, order.currency, locale),
            by_item[item.pk],
            item.code_count,
            0 if item.fulfillment.sent_by_vendor else item.units - item.code_count,
            why_missing(item, order.merchant.name),
            instructions(item.product, {code.source for code in by_item[item.pk]}),
        )
        for item in items
    ]


def why_missing(item: OrderItem, merchant: str) -> str:
    """In a customer's words; the reason that is stored is for those who work here."""
    if item.fulfillment.status == Fulfillment.Status.FAILED:
        text = gettext("Something went wrong. %(merchant)s has been told, and takes care of it.")
    elif item.fulfillment.status != Fulfillment.Status.WAITING:
        text = gettext("Being prepared at this moment.")
    else:
        kinds = [SOURCES[method.source] for method in item.product.fulfillment_methods.all()]
        text = gettext(max([Source, *kinds], key=lambda kind: kind.waiting_rank).waiting)
    return text % {"merchant": merchant}


def masked(address: str) -> str:
    """Enough to know one's own address by: who holds the link need not be who reads the mail."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}•••@{domain}"
