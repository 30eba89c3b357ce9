"""Connections to a merchant's shops: connecting, health and settings."""

import re
from functools import partial
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from portal.access import Role, member_required
from portal.confirm import Confirmation, Question, confirmed
from portal.shops import events
from portal.shops.access import SHOPS, for_shop
from portal.shops.forms import ConnectionForm, FetchForm, NewSecretForm, SampleForm, TryForm
from shops import catching_up, connecting, samples
from shops.changes import Cause, Irrelevant, Line, Parked, Refunded, Sale
from shops.kinds import KINDS
from shops.kinds.answering import Answering
from shops.kinds.base import Malformed, ShopKind
from shops.models import SAMPLE_KEY, Connection, Event
from shops.processing import wake
from shops.sales import Wanted, look_up

EMPHASIS = re.compile(r"\*([^*]+)\*")

form_page = partial(Question, section="shops", template="portal/shops/shop_form.html")


def get_kind(shop: Connection) -> ShopKind:
    return KINDS[shop.kind](shop)


@never_cache
@member_required(Role.MANAGER)
@require_safe
def shops(request) -> HttpResponse:
    rows = [(row, get_kind(row)) for row in SHOPS.filter(merchant=request.merchant).order_by("pk")]
    return render(request, "portal/shops/shops.html", {"section": "shops", "rows": rows})


# Connecting


@member_required(Role.MANAGER)
@require_safe
def kinds(request) -> HttpResponse:
    context: dict[str, Any] = {"section": "shops", "reporting": [], "answering": []}
    for kind in KINDS.values():
        group = "answering" if issubclass(kind, Answering) else "reporting"
        context[group].append((kind.code, kind.name))
    return render(request, "portal/shops/shop_kinds.html", context)


@never_cache
@member_required(Role.MANAGER)
@require_http_methods(["GET", "POST"])
def connect(request, kind: str) -> HttpResponse:
    if kind not in KINDS:
        raise Http404
    brand = KINDS[kind](Connection(merchant=request.merchant, kind=kind))
    asks_secret = brand.signs and not brand.makes_secret
    initial = {"name": connecting.free_name(request.merchant, kind)}
    form = ConnectionForm(brand, request.POST or None, asks_secret=asks_secret, initial=initial)
    if form.is_valid():
        secret = form.cleaned_data.get("secret", "")
        shop = connecting.connect(request.merchant, kind, secret=secret, values=form.values, **form.settings)
        messages.success(request, gettext("Shop added. Now set up the shop to report its sales."))
        return redirect("shop-start", shop.pk)
    title = gettext("Connect {kind}").format(kind=brand.name)
    text = gettext("The next page shows the URL, and what to do in the shop. What you don’t know yet, enter later.")
    context = {"section": "shops", "form": form, "title": title, "text": text, "button": gettext("Continue")}
    return render(request, "portal/shops/shop_form.html", context | {"cancel": reverse("shop-kinds")})


@for_shop
@require_safe
def start(request, shop: Connection) -> HttpResponse:
    """The steps in the shop, and whether its first event has arrived. Until then, the secret is shown."""
    kind = get_kind(shop)
    first = shop.events.exclude(key__startswith=SAMPLE_KEY).order_by("created_at", "pk").first()
    secret = shop.secret if kind.makes_secret and first is None else ""
    context = {
        "section": "shops",
        "shop": shop,
        "kind": kind,
        "steps": [format_step(step) for step in kind.steps],
        "secret": secret,
        "lacks_secret": kind.signs and not shop.secret,
        "secret_form": NewSecretForm(kind),
        "missing": find_missing(kind),
        "first": first,
    }
    return render(request, "portal/shops/shop_start.html", context)


def find_missing(kind: ShopKind) -> list[str | Promise]:
    """The labels of what the shop shows and the merchant hasn't entered, such as an API key."""
    if not any(option.is_secret for option in kind.options):
        return []
    return [option.label for option in kind.options if not kind.option(option.name)]


def format_step(text: Any) -> SafeString:
    """A step of a kind with its *emphasis*."""
    return mark_safe(EMPHASIS.sub(r"<strong>\1</strong>", conditional_escape(text)))  # noqa: S308 (it is escaped)


# One connection


@for_shop
@require_safe
def shop(request, shop: Connection) -> HttpResponse:
    kind = get_kind(shop)
    unmapped = shop.external_products.exclude(pk__in=shop.external_products.decided())
    context = {
        "section": "shops",
        "shop": shop,
        "kind": kind,
        "settings": list(describe_options(kind)),
        "unmapped": unmapped.count(),
        "lacks_secret": kind.signs and not shop.secret,
        "last_fetch": shop.catch_ups.order_by("-created_at").first() if shop.catches_up else None,
        **events.log_context(request, shop),
    }
    return render(request, "portal/shops/shop.html", context)


def describe_options(kind: ShopKind):
    """Yield the label and the value of each option that is set, without secrets."""
    for option in kind.options:
        value = kind.option(option.name)
        if value:
            yield option.label, gettext("saved") if option.is_secret else dict(option.choices).get(value, value)


@for_shop
@confirmed
def change(request, shop: Connection) -> Confirmation:
    initial = {name: getattr(shop, name) for name in ConnectionForm.SETTINGS}
    form = ConnectionForm(get_kind(shop), request.POST or None, initial=initial)
    then = shop if shop.last_event_at else reverse("shop-start", args=[shop.pk])
    yield form_page(title=gettext("Edit shop"), form=form, button=gettext("Save"), then=then)
    for name, value in form.settings.items():
        setattr(shop, name, value)
    connecting.set_values(shop, form.values)
    shop.save(update_fields=[*form.settings, "options", "credentials", "catches_up"])
    # With access to the shop's API, more may be known about these.
    parked = shop.events.filter(state=Event.State.PARKED, cause__in=[Cause.ACCESS, Cause.UNMAPPED])
    parked.update(fetches=True)
    wake(parked)
    return gettext("Shop changed. This applies to sales that it reports from now on.")


@for_shop
@confirmed
def change_secret(request, shop: Connection) -> Confirmation:
    kind = get_kind(shop)
    if not kind.signs:
        raise Http404
    form = NewSecretForm(kind, request.POST or None)
    yield form_page(
        title=gettext("Change the signing secret") if shop.secret else gettext("Enter the signing secret"),
        text=gettext("The previous secret stays valid for a day, so that no sale is lost meanwhile.")
        if shop.secret
        else "",
        form=form,
        button=gettext("Save secret"),
        then=shop if shop.secret else reverse("shop-start", args=[shop.pk]),
    )
    connecting.change_secret(shop, form.cleaned_data["secret"])
    return gettext("Secret saved.")


@for_shop
@confirmed
def change_url(request, shop: Connection) -> Confirmation:
    yield Question(
        title=gettext("Change the URL?"),
        text=gettext(
            "The current URL stops working immediately, and we lose what the shop sends there. Enter the new one in"
            " the shop right away. Do this only if someone else knows the URL."
        ),
        button=gettext("Change URL"),
        danger=True,
        section="shops",
        then=reverse("shop-start", args=[shop.pk]),
    )
    connecting.change_url(shop)
    return gettext("URL changed. Enter the new one in the shop.")


@for_shop
@require_POST
def enable(request, shop: Connection) -> HttpResponse:
    connecting.switch_on(shop)
    messages.success(request, gettext("Shop switched on."))
    return redirect(shop)


@for_shop
@confirmed
def disable(request, shop: Connection) -> Confirmation:
    kind = get_kind(shop)
    yield Question(
        title=gettext("Switch off {shop}?").format(shop=shop),
        text=f"{gettext('We reject what the shop reports, so its buyers get no licenses.')} {kind.while_down}",
        button=gettext("Switch off"),
        danger=True,
        section="shops",
    )
    connecting.switch_off(shop)
    return gettext("Shop switched off.")


@for_shop
@confirmed
def remove(request, shop: Connection) -> Confirmation:
    yield Question(
        title=gettext("Remove {shop}?").format(shop=shop),
        text=gettext(
            "Its URL stops working immediately, and its product mapping and events are deleted. Its orders stay. You"
            " can’t undo this."
        ),
        button=gettext("Remove shop"),
        danger=True,
        section="shops",
        then="shops",
    )
    connecting.remove(shop)
    return gettext("{shop} removed. Delete the webhook in the shop, too.").format(shop=shop)


@for_shop
@confirmed
def fetch(request, shop: Connection) -> Confirmation:
    if not shop.catches_up:
        raise Http404
    form = FetchForm(request.POST or None)
    yield form_page(
        title=gettext("Fetch missed orders"),
        text=gettext(
            "We read the shop’s orders and process those that it hasn’t reported. This also happens every night."
        ),
        form=form,
        button=gettext("Fetch orders"),
    )
    catching_up.request(shop, form.cleaned_data["since"])
    return gettext("We are fetching the orders. They appear below.")


@for_shop
@require_http_methods(["GET", "POST"])
def try_request(request, shop: Connection) -> HttpResponse:
    """Show what a request that the merchant enters would become with the saved settings."""
    if not get_kind(shop).can_try:
        raise Http404
    form = TryForm(request.POST or None)
    context: dict[str, Any] = {"section": "shops", "shop": shop, "form": form}
    if form.is_valid():
        try:
            changes = samples.try_content(shop, form.cleaned_data["content"].encode())
        except (Malformed, Parked, Irrelevant) as problem:
            context["problem"] = str(problem)
        else:
            context["sales"] = [read_sale(shop, change) for change in changes if isinstance(change, Sale)]
            context["refunds"] = [change for change in changes if isinstance(change, Refunded)]
    return render(request, "portal/shops/shop_try.html", context)


def read_sale(shop: Connection, sale: Sale) -> tuple[Sale, list[tuple[Line, Wanted]]]:
    return sale, list(zip(sale.lines, look_up(shop, sale.lines), strict=True))


@for_shop
@confirmed
def send_sample(request, shop: Connection) -> Confirmation:
    form = SampleForm(shop, request.POST or None)
    yield form_page(
        title=gettext("Send a sample sale"),
        text=gettext(
            "We report a paid sale as if the shop had sent it. It becomes a test order: it takes no key from your"
            " stock, and its e-mail goes to {email}."
        ).format(email=request.user.email),
        form=form,
        button=gettext("Send sample sale"),
    )
    data = form.cleaned_data
    with transaction.atomic():
        event = samples.send_sample(
            shop, external_id=data["product"], quantity=data["quantity"], email=request.user.email
        )
    return redirect(event)
