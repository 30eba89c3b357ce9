"""The customer's order page. Anybody with its link can open it."""

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

from delivery.composition import get_instructions
from delivery.resending import ResendRefused, TooManyMails, resend_as_customer
from fulfillment.models import Fulfillment
from fulfillment.sources.base import Source
from orders.kinds import SOURCES
from orders.localization import format_day, format_money, format_wait, get_locale
from orders.models import ActivationCode, Order, OrderItem
from orders.services import OrderClosed, show_to_customer
from portal.orders.page import read_number

CODES_PER_PAGE = 50


def behind_a_link(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A page whose URL is a secret: it isn't cached, indexed or sent to other sites as a referrer.

    There is no CSRF check. The page uses no session or cookie, so there is nothing to forge. The check would also
    refuse every request: under `no-referrer`, browsers send `Origin: null`.
    """

    @csrf_exempt
    @never_cache
    @wraps(view)
    def wrapped(*args, **kwargs):
        response = view(*args, **kwargs)
        response["Referrer-Policy"] = "no-referrer"
        response["X-Robots-Tag"] = "noindex, nofollow"
        return response

    return wrapped


@behind_a_link
@require_http_methods(["GET", "HEAD", "POST"])
def customer_order(request: HttpRequest, token: str) -> HttpResponse:
    orders = Order.objects.with_link_token(token).filter(status=Order.Status.PAID)
    order = orders.select_related("merchant", "checkout_page").first()
    if order is None:
        return render_gone(request)

    visit = Visit(request, order)
    act = ACTIONS.get(request.POST.get("act", ""), show_masked)
    with translation.override(visit.language):
        try:
            return act(visit)
        except (OrderClosed, ResendRefused):
            return redirect(visit.url())  # the page shows the reason


def render_gone(request: HttpRequest) -> HttpResponse:
    """The same response for every link that doesn't work, whatever the reason."""
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
    codes = visit.order.codes().defer("code")[visit.first - 1 :][:CODES_PER_PAGE]
    return show(visit, list(codes), **context)


def show_unmasked(visit: Visit) -> HttpResponse:
    return show(visit, show_to_customer(visit.order, visit.first, CODES_PER_PAGE), unmasked=True)


def send(visit: Visit) -> HttpResponse:
    address = mask(visit.order.email)
    try:
        _, new = resend_as_customer(visit.order)
    except TooManyMails as error:
        text = gettext("Your licenses were already sent several times. You can resend them %(when)s.")
        response = show_masked(visit, refusal=text % {"when": format_wait(error.wait, visit.locale)})
        response.status_code = 429
        return response
    if new:
        text = gettext("An e-mail with your licenses is on its way to %(address)s.")
    else:
        text = gettext("An e-mail with your licenses was just sent to %(address)s or is about to be.")
    return show_masked(visit, success=text % {"address": address})


ACTIONS: dict[str, Callable[[Visit], HttpResponse]] = {"show": show_unmasked, "send": send}


def show(visit: Visit, codes: list[ActivationCode], **context: Any) -> HttpResponse:
    order, first = visit.order, visit.first
    items = show_items(order, codes, visit.locale)
    saved = sum(shown.saved for shown in items)
    context |= {
        "order": order,
        "paid_on": format_day(order.paid_by_shop_clock, visit.locale) if order.paid_by_shop_clock else "",
        "masked_address": mask(order.email),
        "items": items,
        "saved": saved,
        "first": first,
        "last": first + len(codes) - 1,
        "page_url": visit.url(),
        "before": visit.url(**{"from": max(1, first - CODES_PER_PAGE)}) if first > 1 else "",
        "after": visit.url(**{"from": first + CODES_PER_PAGE}) if first + CODES_PER_PAGE <= saved else "",
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
            explain_missing(item, order.merchant.name),
            get_instructions(item.product, {code.source for code in by_item[item.pk]}),
        )
        for item in items
    ]


def explain_missing(item: OrderItem, merchant: str) -> str:
    """Explain missing codes to the customer. The stored reason is for the merchant."""
    if item.order.is_held:
        text = gettext("%(merchant)s is checking your order. You’ll get an e-mail as soon as that’s done.")
    elif item.fulfillment.status == Fulfillment.Status.FAILED:
        text = gettext("Something went wrong. %(merchant)s has been notified and will take care of it.")
    elif item.fulfillment.status != Fulfillment.Status.WAITING:
        text = gettext("We’re preparing it right now.")
    else:
        kinds = [SOURCES[method.source] for method in item.product.fulfillment_methods.all()]
        text = gettext(max([Source, *kinds], key=lambda kind: kind.waiting_rank).waiting)
    return text % {"merchant": merchant}


def mask(address: str) -> str:
    """Keep enough for customers to recognize their address. Others may hold the link, too."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}•••@{domain}"
