"""Composes e-mails to customers from the products' templates, in the order's language, as plain text and HTML."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import groupby
from typing import Any, NamedTuple
from urllib.parse import quote

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db.models import Q
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from merchants.email_template import ITEM_TAGS, SECRET_TAGS, TAG, fill
from merchants.models import EmailTemplate, Merchant, Product
from orders.kinds import SOURCES
from orders.localization import DEFAULT_LANGUAGE, format_day, format_money
from orders.models import ActivationCode, Order, OrderItem
from outbound.mail import mark_subject, set_sender

SUBJECT = gettext_noop("Your license for {PROGRAM_NAME}")
SUBJECT_OF_SEVERAL = gettext_noop("Your licenses for order {ORDER_ID}")
BODY = gettext_noop(
    "Hello {FULLNAME},\n\n"
    "Thank you for your order {ORDER_ID} of {DATE}.\n\n"
    "{PROGRAM_NAME} × {QUANTITY} · {PRICE_ALL}\n\n"
    "{KEY}\n\n"
    "View your order and licenses at any time:\n"
    "{ORDER_URL}"
)
INSTRUCTIONS = "{INSTRUCTIONS}"
MAX_MISSING_ITEMS = 20  # per e-mail
MAX_RANGES = 20  # of an item's licenses
MAX_COMPILED = 2000  # texts of templates, of which each process keeps what it has parsed
Paragraphs = tuple[str, ...]


@dataclass(frozen=True)
class EmailItem:
    """An order item with its codes in one e-mail."""

    item: OrderItem
    codes: list[str]
    parent_codes: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)  # hints of the codes that new codes replace
    sources: frozenset[str] = frozenset()  # of the codes
    units: list[int] = field(default_factory=list)  # of the codes

    @classmethod
    def build(cls, item: OrderItem, codes: list[ActivationCode], parent_codes: list[ActivationCode]) -> "EmailItem":
        """Decrypt the codes. Raises DecryptionError."""
        replaced = [code.replaces.hint for code in codes if hasattr(code, "replaces")]
        sources = frozenset(code.source for code in codes)
        texts, parent_texts = ([code.code for code in group] for group in (codes, parent_codes))
        return cls(item, texts, parent_texts, replaced, sources, [code.unit for code in codes])

    @cached_property
    def values(self) -> dict[str, str]:
        """A value for each tag in merchants.email_template.TAGS, in the language that is active at the first use."""
        order = self.item.order
        locale = order.locale
        values = {
            "ORDER_ID": order.number,
            "PROGRAM_NAME": self.item.product.name,
            "QUANTITY": str(self.item.quantity),
            "PRICE_ALL": format_money(self.item.total_price, order.currency, locale),
            "DATE": format_day(order.paid_by_shop_clock, locale) if order.paid_by_shop_clock else "",
            "FULLNAME": order.customer_name or order.email,
            "FNAME": order.first_name,
            "LNAME": order.last_name,
            "EMAIL": order.email,
            "COMPANY": order.company,
            "COUNTRY": locale.territories.get(order.country, order.country),
            "ORDER_URL": order.url,
        }
        # User input can't add lines.
        return {name: _in_one_line(value) for name, value in values.items()} | {
            "KEY": _join(self.codes),
            "PARENT_KEY": _join(self.parent_codes),
            "INSTRUCTIONS": get_instructions(self.item.product, self.sources),
        }


def get_instructions(product: Product, sources: Collection[str]) -> str:
    """Return the product's instructions, or the default ones for these sources in the active language."""
    if product.instructions:
        return product.instructions
    defaults = {SOURCES[source].instructions for source in sources} - {""}
    return "\n".join(map(_, sorted(defaults)))


def _in_one_line(value: str) -> str:
    # Keeps the no-break spaces of CLDR formats.
    return " ".join(line.strip() for line in value.splitlines()).strip()


def _join(codes: list[str]) -> str:
    """Join codes with line breaks, or with empty lines if any code has several lines."""
    return ("\n\n" if any("\n" in code for code in codes) else "\n").join(codes)


@dataclass(frozen=True)
class EmailContent:
    order: Order
    email_items: list[EmailItem]
    still_to_come: list[tuple[OrderItem, int]]  # items and their number of missing codes

    @property
    def language(self) -> str:
        return self.order.customer_language


@dataclass(frozen=True)
class Texts:
    """A merchant's templates in one language and in English, best match first."""

    templates: list[EmailTemplate]

    @classmethod
    def for_merchant(cls, merchant: Merchant, language: str, products: Iterable[int]) -> "Texts":
        templates = EmailTemplate.objects.filter(
            Q(product=None) | Q(product__in=products), merchant=merchant, language__in={language, DEFAULT_LANGUAGE}
        )
        return cls.choose(templates.current(), language)

    @classmethod
    def choose(cls, templates: Iterable[EmailTemplate], language: str) -> "Texts":
        """Choose from templates of one merchant, in any languages."""
        # An English template with only a subject is skipped: it would mix two languages in one e-mail.
        fitting = (
            template
            for template in templates
            if template.language == language or (template.language == DEFAULT_LANGUAGE and template.body)
        )
        return cls(sorted(fitting, key=lambda each: (each.product_id is None, each.language != language)))

    def subject(self, product_id: int | None) -> str:
        return next((template.subject for template in self._for(product_id) if template.subject), "")

    def body(self, product_id: int | None) -> str:
        return next((template.body for template in self._for(product_id) if template.body), "")

    def origin(self, product_id: int | None, language: str) -> str:
        """Return where the text of a product comes from: default, shared, own or english."""
        used = self.used(product_id)
        if used is None:
            return "default"
        if used.product_id != product_id:
            return "shared"
        return "own" if used.language == language else "english"

    def used(self, product_id: int | None) -> EmailTemplate | None:
        return next((template for template in self._for(product_id) if not template.is_default), None)

    def _for(self, product_id: int | None) -> Iterator[EmailTemplate]:
        return (template for template in self.templates if template.product_id in {product_id, None})


def render_email(content: EmailContent, texts: Texts) -> EmailMultiAlternatives:
    """Return the e-mail, without a recipient."""
    order, vendor = content.order, content.order.merchant.vendor
    subject = render_subject(content, texts)
    with translation.override(content.language):
        parts = list(_parts(content, texts))
        context = {
            "subject": subject,
            "language": content.language,
            "merchant": vendor,
            "order": order,
            "is_test": order.merchant.is_test,
            "logo": vendor.get_logo(),
            "base_url": settings.BASE_URL,
        }
        blocks = [block for part in parts for block in part.html()]
        html = render_to_string("emails/delivery.html", context | {"blocks": blocks})
        text = render_to_string("emails/delivery.txt", context | {"paragraphs": [part.text() for part in parts]})
    message = EmailMultiAlternatives(
        subject=subject,
        body=text.strip() + "\n",
        headers={"Auto-Submitted": "auto-generated", "Content-Language": content.language},
    )
    set_sender(message, vendor)
    message.attach_alternative(html, "text/html")
    return message


def render_subject(content: EmailContent, texts: Texts) -> str:
    with translation.override(content.language):
        subject = _subject(content, texts)
    return mark_subject(subject) if content.order.merchant.is_test else subject


def _subject(content: EmailContent, texts: Texts) -> str:
    several = len(content.email_items) > 1
    subjects = (texts.subject(email_item.item.product_id) for email_item in content.email_items)
    subject = next(filter(None, subjects), "") or _(SUBJECT_OF_SEVERAL if several else SUBJECT)
    names = ", ".join(_in_one_line(email_item.item.product.name) for email_item in content.email_items)
    values = content.email_items[0].values | {"PROGRAM_NAME": names} | dict.fromkeys(SECRET_TAGS, "")
    return " ".join(fill(subject, values).split())


def _parts(content: EmailContent, texts: Texts) -> Iterator["EmailPart"]:
    """Yield the paragraphs. Items with the same text share its beginning and end; custom texts come first."""
    groups: dict[str, list[EmailItem]] = {}
    for email_item in content.email_items:
        groups.setdefault(texts.body(email_item.item.product_id), []).append(email_item)
    bodies = sorted(groups, key=lambda body: not body)
    for body in bodies:
        before, of_item, after = split_body(body or _(BODY))
        yield from _fill(before, groups[body][0])
        for email_item in groups[body]:
            yield from _fill(of_item, email_item)
            yield from _unit_parts(email_item)
            if INSTRUCTIONS not in body:
                yield from _fill([INSTRUCTIONS], email_item)
            yield from _replacement_parts(email_item)
        if body == bodies[-1]:
            yield from _still_to_come_parts(content.still_to_come)
        yield from _fill(after, groups[body][0])


@lru_cache(MAX_COMPILED)
def split_body(body: str) -> tuple[Paragraphs, Paragraphs, Paragraphs]:
    """Split a text into paragraphs before, within and after the part that repeats for each item.

    That part runs from the first to the last paragraph with a tag in ITEM_TAGS.
    """
    paragraphs = tuple(re.split(r"\n\s*\n", body.replace("\r\n", "\n").strip()))
    of_item = [index for index, text in enumerate(paragraphs) if ITEM_TAGS.intersection(TAG.findall(text))]
    first, last = of_item[0], of_item[-1] + 1
    return paragraphs[:first], paragraphs[first:last], paragraphs[last:]


def _fill(paragraphs: Iterable[str], email_item: EmailItem) -> Iterator["EmailPart"]:
    values = email_item.values
    for template in paragraphs:
        if not values["ORDER_URL"]:
            template = _without_link(template)
        if template and (template.strip() != INSTRUCTIONS or values["INSTRUCTIONS"]):
            yield EmailPart(template, values, email_item.codes)


def _without_link(paragraph: str) -> str:
    """Remove a revoked {ORDER_URL}: its paragraph, or if that has tags of an item, its lines without {KEY}."""
    if "{ORDER_URL}" not in paragraph:
        return paragraph
    if not ITEM_TAGS.intersection(TAG.findall(paragraph)):
        return ""
    lines = paragraph.split("\n")
    return "\n".join(line for line in lines if "{ORDER_URL}" not in line or "{KEY}" in line)


def _unit_parts(email_item: EmailItem) -> Iterator["EmailPart"]:
    """Say which licenses of the item these are, unless they are all of them."""
    units, total = email_item.units, email_item.item.units
    if not 0 < len(units) < total:
        return
    # Not a plural form: Russian uses the singular's for 21 as well.
    text = _("This is license %(units)s of %(total)d.")
    if len(units) > 1:
        text = _("These are licenses %(units)s of %(total)d.")
    yield EmailPart("{UNITS}", {"UNITS": text % {"units": format_units(units), "total": total}}, [])


def format_units(units: list[int]) -> str:
    """Format ascending numbers with their ranges: “1–3, 7”. After MAX_RANGES, the rest is left out."""
    runs = [[number for _, number in run] for _, run in groupby(enumerate(units), key=lambda pair: pair[1] - pair[0])]
    shown = [f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    return ", ".join(shown if len(shown) <= MAX_RANGES else [*shown[:MAX_RANGES], "…"])


def _replacement_parts(email_item: EmailItem) -> Iterator["EmailPart"]:
    for hint in email_item.replaced:
        text = _("This replaces your license ending in %(hint)s, which is no longer valid.") % {"hint": hint}
        if not hint:
            text = _("This replaces your previous license, which is no longer valid.")
        yield EmailPart("{REPLACED}", {"REPLACED": text}, [])


def _still_to_come_parts(still_to_come: list[tuple[OrderItem, int]]) -> Iterator["EmailPart"]:
    if not still_to_come:
        return
    lines = [_("We’ll e-mail you these licenses as soon as they’re ready:")]
    for item, missing in still_to_come[:MAX_MISSING_ITEMS]:
        facts = {"product": _in_one_line(item.product.name), "missing": missing, "units": item.units}
        lines.append(_("%(product)s: %(missing)d of %(units)d") % facts)
    if len(still_to_come) > MAX_MISSING_ITEMS:
        lines.append("…")
    yield EmailPart("{STILL_TO_COME}", {"STILL_TO_COME": "\n".join(lines)}, [])


@dataclass(frozen=True)
class EmailPart:
    """A paragraph of a template, with the values of its tags."""

    template: str
    values: dict[str, str]
    codes: list[str]

    def text(self) -> str:
        pieces = _split_urls(self.template)
        return "".join(fill(piece.text, self._quoted if piece.is_url else self.values) for piece in pieces)

    @property
    def _quoted(self) -> dict[str, str]:
        """The values, URL-quoted."""
        return {name: quote(value, safe="") for name, value in self.values.items()}

    def html(self) -> Iterator[dict[str, Any]]:
        """Yield blocks for templates/emails/delivery.html. Tags alone on a line become blocks of their own."""
        for tag, lines in _split_blocks(self.template):
            if tag == "codes":
                yield {"codes": [_lines(code, _link) for code in self.codes]}
            elif tag == "url":
                yield {"url": self.values["ORDER_URL"]}
            else:
                yield {"paragraph": _join_lines(self._line(line) for line in lines)}

    def _line(self, pieces: "tuple[Piece, ...]") -> str:
        # URLs in the template become links; URLs in values, such as a customer's name, don't.
        return "".join(
            self._linked(piece.text) if piece.is_url else TAG.sub(self._marked_up, piece.html) for piece in pieces
        )

    def _linked(self, url: str) -> str:
        return _anchor(fill(url, self._quoted), fill(url, self.values))

    def _marked_up(self, tag: re.Match[str]) -> str:
        value = self.values.get(tag[1])
        return tag[0] if value is None else MARKUP.get(tag[1], _lines)(value)


BLOCK_TAGS = {"{KEY}": "codes", "{ORDER_URL}": "url"}
URL = re.compile(r"""(https?://[^\s<>"']*[^\s<>"'.,;:!?)])""")


class Piece(NamedTuple):
    """A URL in a template, or the text before, between or after URLs."""

    text: str
    html: str
    is_url: bool


@lru_cache(MAX_COMPILED)
def _split_urls(template: str) -> tuple[Piece, ...]:
    return tuple(Piece(text, escape(text), bool(index % 2)) for index, text in enumerate(URL.split(template)))


@lru_cache(MAX_COMPILED)
def _split_blocks(paragraph: str) -> tuple[tuple[str, tuple[tuple[Piece, ...], ...]], ...]:
    """Return the lines by the tag in BLOCK_TAGS that they consist of, if any."""
    blocks = groupby(paragraph.split("\n"), key=lambda line: BLOCK_TAGS.get(line.strip(), ""))
    return tuple((tag, tuple(map(_split_urls, lines))) for tag, lines in blocks)


def _join_lines(lines: Iterable[str]) -> SafeString:
    return mark_safe("<br>".join(lines))  # noqa: S308 (each is escaped)


def _lines(text: str, render: Callable[[str], str] = escape) -> SafeString:
    return _join_lines(render(line) for line in text.split("\n"))


def _anchor(target: str, text: str) -> str:
    return format_html('<a href="{}" style="color: #0f766e">{}</a>', target, text)


def _link(url: str) -> str:
    return _anchor(url, url) if url.startswith(("https://", "http://")) else escape(url)


def _code(codes: str) -> str:
    return format_html('<code style="font-size: 16px">{}</code>', _lines(codes, _link))


def _strong(text: str) -> str:
    return format_html("<strong>{}</strong>", text)


MARKUP: dict[str, Callable[[str], str]] = {
    "KEY": _code,
    "PARENT_KEY": _code,
    "ORDER_URL": _link,
    "PROGRAM_NAME": _strong,
}
