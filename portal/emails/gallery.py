"""What customers get now: a card for each text of a product in a language."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_safe

from delivery.composition import Texts, render_subject
from merchants.models import EmailTemplate, Merchant, Product
from outbound.models import MailAccount
from portal.access import Role, member_required
from portal.emails.places import LANGUAGES, ORIGINS, Place, fill_content, get_place, sample_product

PRODUCTS_PER_PAGE = 4
MAX_SUGGESTIONS = 100
MAX_OTHERS = 12
# Pictures are e-mails in a sandbox. They have inline styles and may show our logos.
PICTURE_POLICY = {
    "script-src": "'none'",
    "style-src": "'unsafe-inline'",
    "img-src": f"{settings.BASE_URL}/logos/",
    "connect-src": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'self'",
    "sandbox": "",
}


class GalleryFilters(forms.Form):
    product = forms.CharField(
        label=_("Product"),
        required=False,
        max_length=200,
        widget=forms.TextInput(
            attrs={
                "type": "search",
                "list": "products",
                "autocomplete": "off",
                "placeholder": _("Product name or SKU"),
            }
        ),
    )
    language = forms.ChoiceField(
        label=_("Language"), required=False, choices=[("", _("All languages")), *LANGUAGES.items()]
    )
    own = forms.BooleanField(label=_("Only own texts"), required=False)

    @property
    def chosen(self) -> dict[str, Any]:
        """The values that restrict the gallery. Invalid ones, from edited URLs, don't."""
        self.is_valid()
        return {name: value for name, value in self.cleaned_data.items() if value}


@dataclass(frozen=True)
class Card:
    place: Place
    texts: Texts
    sample: Product

    @cached_property
    def used(self) -> EmailTemplate | None:
        return self.texts.used(self.place.product_id)

    @cached_property
    def is_own(self) -> bool:
        return self.texts.origin(self.place.product_id, self.place.language) == "own"

    @property
    def origin(self) -> str | Promise:
        return ORIGINS[self.texts.origin(self.place.product_id, self.place.language)]

    @property
    def language(self) -> str:
        return self.used.language if self.used else self.place.language

    @property
    def subject(self) -> str:
        return render_subject(fill_content(self.place.merchant, self.sample, self.place.language), self.texts)

    @property
    def saved_by(self) -> str:
        """The name of the author, without the address that follows in parentheses."""
        return self.used.saved_by.partition(" (")[0] if self.used else ""

    @property
    def picture(self) -> str:
        return self.place.url("email-picture")


@dataclass(frozen=True)
class CardRow:
    """A product's cards, or those for all products."""

    product: Product | None
    cards: list[Card]
    has_more: bool  # cards that aren't shown


@member_required(Role.MANAGER)
@require_safe
def gallery(request) -> HttpResponse:
    """Show the texts for all products and the own texts of others. A search for a product shows all its texts."""
    filters = GalleryFilters(request.GET)
    chosen = filters.chosen
    products = request.merchant.products.order_by("name", "pk")
    own = own_texts(request.merchant, chosen.get("language", ""))
    page = Paginator(choose_products(products, own, chosen), PRODUCTS_PER_PAGE).get_page(request.GET.get("page"))
    scopes = [*([None] if page.number == 1 and "product" not in chosen else []), *page]
    context = {
        "section": "emails",
        "filters": filters,
        "chosen": chosen,
        "query": urlencode(chosen),
        "rows": make_rows(request.merchant, scopes, chosen),
        "page": page,
        "suggestions": products.values_list("name", flat=True)[:MAX_SUGGESTIONS],
        "others": [] if chosen else products.exclude(pk__in=own.values("product"))[: MAX_OTHERS + 1],
        "max_others": MAX_OTHERS,
        "account": MailAccount.objects.for_merchant(request.merchant),
        "logo": request.merchant.get_logo(),
        "base_url": settings.BASE_URL,
    }
    response = render(request, "portal/emails/emails.html", context)
    response.content_security_policy = {"frame-src": "'self'"}  # type: ignore[attr-defined]
    return response


def own_texts(merchant: Merchant, language: str) -> QuerySet[EmailTemplate]:
    """Return the products' own texts that apply now."""
    templates = merchant.email_templates.filter(product__isnull=False)
    if language:
        templates = templates.filter(language=language)
    return templates.current().exclude(subject="", body="")


def choose_products(
    products: QuerySet[Product], own: QuerySet[EmailTemplate], chosen: dict[str, Any]
) -> QuerySet[Product]:
    if text := chosen.get("product"):
        products = products.filter(Q(name__icontains=text) | Q(sku__icontains=text))
    if not text or chosen.get("own"):
        products = products.filter(pk__in=own.values("product"))
    return products


def make_rows(merchant: Merchant, scopes: list[Product | None], chosen: dict[str, Any]) -> list[CardRow]:
    in_scopes = Q(product=None) | Q(product__in=[product for product in scopes if product])
    templates = list(merchant.email_templates.filter(in_scopes).current())
    languages = [chosen["language"]] if "language" in chosen else list(LANGUAGES)
    sample = sample_product(merchant)
    rows = []
    for product in scopes:
        fitting = [template for template in templates if template.product_id in {None, product and product.pk}]
        cards = [
            Card(Place(merchant, product, language), Texts.choose(fitting, language), product or sample)
            for language in languages
        ]
        shown = cards
        if "own" in chosen or (product and "product" not in chosen):
            shown = [card for card in cards if card.is_own]
        rows.append(CardRow(product, shown, has_more=len(shown) < len(LANGUAGES)))
    return [row for row in rows if row.cards]


@member_required(Role.MANAGER)
@xframe_options_sameorigin
@require_safe
def picture(request, scope: str, language: str) -> HttpResponse:
    """The e-mail that customers get now, for a small frame."""
    place = get_place(request, scope, language)
    response = HttpResponse(place.sample(place.editor_texts(place.current)).alternatives[0][0])
    response.content_security_policy = PICTURE_POLICY  # type: ignore[attr-defined]
    return response
