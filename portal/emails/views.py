from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.core.mail import EmailMultiAlternatives
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from delivery.composition import BODY, SUBJECT, EmailContent, EmailItem, Texts, render_email
from merchants.email_template import TAGS
from merchants.models import EmailTemplate, Logo, Merchant, Product
from orders.models import Order, OrderItem
from outbound.mail import MailError, make_message_id, send_test_mail
from outbound.models import MailAccount
from portal.access import Role, member_required
from portal.confirm import Confirmation, Question, confirmed
from portal.emails.forms import EmailTextForm, SenderForm
from work.bodies import takes_files

LANGUAGES = dict(settings.LANGUAGES)
PRODUCTS_PER_PAGE = 25
MAX_VERSIONS = 50
ORIGINS = {
    "default": "default",
    "shared": _("same as all products"),
    "custom": "custom",
    "english": _("same as English"),
}
# Previews are e-mails: they have inline styles, and no scripts or forms.
PREVIEW_POLICY = {
    "script-src": "'none'",
    "style-src": "'self' 'unsafe-inline'",
    "form-action": "'none'",
    "frame-ancestors": "'self'",
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

    def url(self, name: str = "email-text") -> str:
        return reverse(name, args=[self.scope, self.language])

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


@member_required(Role.MANAGER)
@require_safe
def emails(request) -> HttpResponse:
    page = Paginator(request.merchant.products.order_by("name", "pk"), PRODUCTS_PER_PAGE).get_page(
        request.GET.get("page")
    )
    texts = {
        language: Texts.for_merchant(request.merchant, language, [product.pk for product in page])
        for language in LANGUAGES
    }
    context = {
        "section": "emails",
        "languages": LANGUAGES,
        "rows": [TextRow(request.merchant, product, texts) for product in [None, *page]],
        "page": page,
        "account": MailAccount.objects.for_merchant(request.merchant),
        "logo": request.merchant.get_logo(),
        "base_url": settings.BASE_URL,
    }
    return render(request, "portal/emails/emails.html", context)


@dataclass(frozen=True)
class TextRow:
    merchant: Merchant
    product: Product | None
    texts: dict[str, Texts]  # by language

    def cells(self) -> Iterator[tuple[Place, str, str]]:
        """Yield the place, the language's name and the origin of the text, for each language."""
        for language, texts in self.texts.items():
            place = Place(self.merchant, self.product, language)
            yield place, LANGUAGES[language], str(ORIGINS[texts.origin(place.product_id, language)])


@member_required(Role.MANAGER)
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request, scope: str, language: str) -> HttpResponse:
    place = get_place(request, scope, language)
    if request.method != "POST":
        return show_editor(request, place, EmailTextForm(initial=get_initial_texts(request, place)))

    form = EmailTextForm(request.POST)
    if not form.is_valid():
        return show_editor(request, place, form)
    if save(place, form.cleaned_data, actor=str(request.user)):
        messages.success(
            request,
            gettext("Saved. New e-mails use this text ({label}, {languages}).").format(
                label=place.label, languages=LANGUAGES[language]
            ),
        )
    else:
        messages.info(request, gettext("No changes to save."))
    return redirect(place.url())


def get_initial_texts(request, place: Place) -> dict[str, str]:
    """Return the editor's initial text: the current one, an earlier version, or Keywell's default."""
    wanted = request.GET.get("version", "")
    if wanted == "default":
        return place.default()
    if wanted.isdecimal() and len(wanted) <= 18:
        return place.editor_texts(get_object_or_404(place.versions(), pk=int(wanted)))
    return place.editor_texts(place.current)


def get_preview(request, place: Place) -> str:
    version = request.GET.get("version")
    return f"{place.url('email-preview')}?{urlencode({'version': version})}" if version else place.url("email-preview")


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


def show_editor(request, place: Place, form: EmailTextForm) -> HttpResponse:
    context = {"section": "emails", "place": place, "language": LANGUAGES[place.language], "form": form}
    context |= {"tags": TAGS, "versions": place.versions()[:MAX_VERSIONS], "preview": get_preview(request, place)}
    response = render(request, "portal/emails/email_text.html", context)
    response.content_security_policy = {"frame-src": "'self'"}  # type: ignore[attr-defined]
    return response


@member_required(Role.MANAGER)
@xframe_options_sameorigin
@require_http_methods(["GET", "HEAD", "POST"])
def preview(request, scope: str, language: str) -> HttpResponse:
    """Render the submitted text as a sample e-mail; without one, the editor's initial text."""
    place = get_place(request, scope, language)
    form = EmailTextForm(request.POST or get_initial_texts(request, place))
    return show_preview(request, place.sample(form.cleaned_data) if form.is_valid() else None, form=form)


def show_preview(request: HttpRequest, mail: EmailMultiAlternatives | None, **context: Any) -> HttpResponse:
    """Render an e-mail for an iframe; without one, the errors of the form in the context."""
    if mail:
        context |= {"mail": mail, "html": mail.alternatives[0][0]}
    response = render(request, "portal/emails/email_preview.html", context)
    response.content_security_policy = PREVIEW_POLICY  # type: ignore[attr-defined]
    return response


@member_required(Role.MANAGER)
@require_POST
def send_test(request, scope: str, language: str) -> HttpResponse:
    """E-mail the editor's text, saved or not, to the user."""
    place = get_place(request, scope, language)
    form = EmailTextForm(request.POST)
    if form.is_valid():
        mail = place.sample(form.cleaned_data)
        mail.subject = f"[Test] {mail.subject}"
        mail.to = [request.user.email]
        mail.extra_headers["Message-ID"] = make_message_id()
        try:
            send_test_mail(mail, request.merchant, MailAccount.objects.for_merchant(request.merchant))
        except MailError as error:
            messages.error(request, gettext("The test e-mail wasn’t sent. {error}").format(error=error))
        else:
            messages.success(
                request,
                gettext("Test e-mail sent to {email}. Your changes aren’t saved yet.").format(
                    email=request.user.email
                ),
            )
    return show_editor(request, place, form)


@member_required(Role.MANAGER)
@confirmed
def reset(request, scope: str, language: str) -> Confirmation:
    place = get_place(request, scope, language)
    yield Question(
        title=gettext("Reset the text for {label}, {languages}?").format(
            label=place.label, languages=LANGUAGES[language]
        ),
        text=gettext("Customers will get the general text again. Your custom text stays in the list of versions."),
        button=gettext("Reset text"),
        danger=True,
        back=place.url(),
        section="emails",
    )
    if place.current.is_default:
        return None
    save(place, place.fallback(), actor=str(request.user))
    return gettext("Text reset. Your custom text is still in the list of versions below.")


@takes_files
@member_required(Role.MANAGER)
@require_http_methods(["GET", "HEAD", "POST"])
def sender(request) -> HttpResponse:
    form = SenderForm(request.POST or None, request.FILES or None, instance=request.merchant)
    if form.is_valid():
        form.save_by(str(request.user))
        messages.success(request, gettext("Sender saved. New e-mails to customers use it."))
        return redirect("emails")
    context = {"section": "emails", "form": form, "logo": request.merchant.get_logo()}
    return render(request, "portal/emails/email_sender.html", context)


@require_safe
def logo(request: HttpRequest, digest: str) -> HttpResponse:
    logo = get_object_or_404(Logo.objects.order_by("pk"), digest=digest)
    response = HttpResponse(bytes(logo.image), content_type="image/png")
    response["Cache-Control"] = "public, max-age=31536000, immutable"
    response["Cross-Origin-Resource-Policy"] = "cross-origin"  # for webmail
    return response


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
    product = product or merchant.products.order_by("pk").first() or Product(name="Photo Pro")
    item = OrderItem(order=order, product=product, quantity=3, units=3, total_price=Decimal("89.97"))
    codes = ["AAAAA-BBBBB-CCCCC-7Q2M1", "AAAAA-BBBBB-CCCCC-7Q2M2"]
    sources = frozenset(product.fulfillment_methods.values_list("source", flat=True) if product.pk else [])
    email_items = EmailItem(item, codes, ["AAAAA-BBBBB-CCCCC-1ST00"], sources=sources, units=[1, 2])
    return EmailContent(order, [email_items], still_to_come=[(item, 1)])
