"""The texts of e-mails to customers by product and language, and a sample order to show them with."""

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from delivery.composition import BODY, SUBJECT, EmailContent, EmailItem, Texts, render_email
from merchants.models import EmailTemplate, Merchant, Product
from orders.models import Order, OrderItem

LANGUAGES = dict(settings.LANGUAGES)
ORIGINS = {
    "default": _("Keywell’s default"),
    "shared": _("same as all products"),
    "own": _("own text"),
    "english": _("same as English"),
}


@dataclass(frozen=True)
class Place:
    """What a template is for: one product or all products, and one language."""

    merchant: Merchant
    product: Product | None
    language: str

    @property
    def product_id(self) -> int | None:
        return self.product.pk if self.product else None

    @property
    def scope(self) -> str:
        return str(self.product_id or "all")

    @property
    def label(self) -> str:
        return self.product.name if self.product else gettext("All products")

    @property
    def language_name(self) -> str:
        return LANGUAGES[self.language]

    def url(self, name: str = "email-text", *arguments: str, **query: str) -> str:
        return reverse(name, args=[self.scope, self.language, *arguments], query=query or None)

    def versions(self):
        return self.merchant.email_templates.filter(product=self.product, language=self.language).order_by("-pk")

    def template(self, **texts: str) -> EmailTemplate:
        return EmailTemplate(merchant=self.merchant, product=self.product, language=self.language, **texts)

    @cached_property
    def current(self) -> EmailTemplate:
        return self.versions().first() or self.template()

    @cached_property
    def others(self) -> Texts:
        """The templates that fill in for empty fields of this one."""
        products = [self.product.pk] if self.product else []
        texts = Texts.for_merchant(self.merchant, self.language, products).templates
        own = (self.product_id, self.language)
        return Texts([template for template in texts if (template.product_id, template.language) != own])

    @property
    def origin(self) -> str:
        return Texts([self.current, *self.others.templates]).origin(self.product_id, self.language)

    def fallback(self) -> dict[str, str]:
        found = {"subject": self.others.subject(self.product_id), "body": self.others.body(self.product_id)}
        return {name: found[name] or default for name, default in self.default().items()}

    def default(self) -> dict[str, str]:
        with translation.override(self.language):
            return {"subject": translation.gettext(SUBJECT), "body": translation.gettext(BODY)}

    def editor_texts(self, template: EmailTemplate) -> dict[str, str]:
        """Return a version for the editor, with fallbacks for empty fields."""
        fallback = self.fallback()
        return {"subject": template.subject or fallback["subject"], "body": template.body or fallback["body"]}

    def sample(self, draft: dict[str, str]) -> EmailMultiAlternatives:
        content = sample_content(self.merchant, self.product, self.language)
        return render_email(content, Texts([self.template(**draft), *self.others.templates]))


def get_place(request, scope: str, language: str) -> Place:
    if language not in LANGUAGES:
        raise Http404(gettext("Unknown language."))
    if scope == "all":
        return Place(request.merchant, None, language)
    if not scope.isdecimal() or len(scope) > 18:
        raise Http404(gettext("Unknown product."))
    return Place(request.merchant, get_object_or_404(request.merchant.products, pk=int(scope)), language)


def save(place: Place, texts: dict[str, str], *, actor: str) -> bool:
    """Add a version if the text changed. Fields equal to their fallback are stored empty."""
    fallback = place.fallback()
    changed = {name: "" if text == fallback[name] else text for name, text in texts.items()}
    if changed == {"subject": place.current.subject, "body": place.current.body}:
        return False
    template = place.template(**changed)
    template.saved_by = actor
    template.save()
    return True


# First name, last name and country of a sample customer, by language.
SAMPLE_CUSTOMERS = {
    "en": ("Ada", "Byron", "GB"),
    "de": ("Käthe", "Schönfeld", "DE"),
    "fr": ("Amélie", "Moreau", "FR"),
    "es": ("Lucía", "García", "ES"),
    "ru": ("Софья", "Ковалевская", "RU"),
}


def sample_content(merchant: Merchant, product: Product | None, language: str) -> EmailContent:
    """Return a sample order: three units of a product, two codes ready."""
    product = product or sample_product(merchant)
    sources = frozenset(product.fulfillment_methods.values_list("source", flat=True) if product.pk else [])
    return fill_content(merchant, product, language, sources)


def sample_product(merchant: Merchant) -> Product:
    return merchant.products.order_by("pk").first() or Product(name="Photo Pro")


def fill_content(
    merchant: Merchant, product: Product, language: str, sources: frozenset[str] = frozenset()
) -> EmailContent:
    """Return the sample order without a query."""
    first_name, last_name, country = SAMPLE_CUSTOMERS[language]
    order = Order(
        merchant=merchant,
        number="A0012345678",
        paid_at=timezone.now(),
        currency="EUR",
        language=language,
        email="customer@example.com",
        first_name=first_name,
        last_name=last_name,
        country=country,
        link_token="sample",  # noqa: S106 (opens nothing)
    )
    item = OrderItem(order=order, product=product, quantity=3, units=3, total_price=Decimal("89.97"))
    codes = ["AAAAA-BBBBB-CCCCC-7Q2M1", "AAAAA-BBBBB-CCCCC-7Q2M2"]
    email_items = EmailItem(item, codes, ["AAAAA-BBBBB-CCCCC-1ST00"], sources=sources, units=[1, 2])
    return EmailContent(order, [email_items], still_to_come=[(item, 1)])
