"""Updates the translations in locale/ from the sources, without GNU gettext."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_file
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.conf import settings
from django.template import Engine, Template
from django.templatetags.i18n import BlockTranslateNode, TranslateNode

TEMPLATES = settings.BASE_DIR / "templates"
KEYWORDS = DEFAULT_KEYWORDS | {"gettext_lazy": None, "gettext_noop": None, "ngettext_lazy": (1, 2)}
LANGUAGES = [language for language, _ in settings.LANGUAGES if language != "en"]

# The texts for customers and invited people, which are in every language. All other texts can be translated, but are
# only in English so far, so they aren't in the catalogs.
TRANSLATED_EMAILS = ("emails/delivery.html", "emails/delivery.txt", "emails/lost_key.txt", "emails/invitation.txt")
CUSTOMERS_TEMPLATES = ("customer/*.html", *TRANSLATED_EMAILS)
CUSTOMERS_MODULES = ("delivery/composition.py", "portal/customer/lost_key.py", "portal/customer/order.py")
# Of these, only the messages in gettext_noop().
SOURCES = ("fulfillment/sources/base.py", "fulfillment/sources/*/source.py", "outbound/mail.py")

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def catalog_of(language: str) -> Catalog:
    """Return the translations into a language for the messages in the current sources."""
    path = _folder(language) / "django.po"
    catalog = Catalog(locale=language)
    if path.exists():
        with path.open("rb") as file:
            catalog = read_po(file, locale=language)
    sources = Catalog()
    for message in _messages():
        sources.add(message)
    catalog.update(sources, no_fuzzy_matching=True)
    catalog.obsolete.clear()
    # Constant, so that files don't change without reason.
    catalog.creation_date = catalog.revision_date = EPOCH
    return catalog


def texts_of(message: Message) -> list[str]:
    """Return the translations of a message, one per plural form; missing ones are empty."""
    return list(message.string) if isinstance(message.string, list | tuple) else [message.string or ""]


def files_of(catalog: Catalog) -> dict[Path, bytes]:
    """Return the expected content of a catalog's files."""
    po, mo = BytesIO(), BytesIO()
    write_po(po, catalog, width=119, sort_output=True, omit_header=True)
    header = "\n".join(f'"{name}: {value}\\n"' for name, value in catalog.mime_headers if name in HEADERS)
    write_mo(mo, catalog)
    folder = _folder(str(catalog.locale))
    return {
        folder / "django.po": f'msgid ""\nmsgstr ""\n{header}\n\n'.encode() + po.getvalue(),
        folder / "django.mo": mo.getvalue(),
    }


HEADERS = {"Language", "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Plural-Forms"}


def _folder(language: str) -> Path:
    return Path(settings.LOCALE_PATHS[0]) / language / "LC_MESSAGES"


@cache
def _messages() -> tuple[Any, ...]:
    """Return the messages of the sources, which are the same for every language."""
    return (*_messages_of_modules(), *_messages_of_templates())


def _messages_of_modules() -> Iterator[Any]:
    for pattern in (*CUSTOMERS_MODULES, *SOURCES):
        keywords = {"gettext_noop": None} if pattern in SOURCES else KEYWORDS
        for path in sorted(settings.BASE_DIR.glob(pattern)):
            for _, message, _, _ in extract_from_file("python", path, keywords=keywords):
                yield message


def _messages_of_templates() -> Iterator[Any]:
    for pattern in CUSTOMERS_TEMPLATES:
        for path in sorted(TEMPLATES.glob(pattern)):
            yield from _messages_of_template(Engine.get_default().get_template(str(path.relative_to(TEMPLATES))))


def _messages_of_template(template: Template) -> Iterator[Any]:
    node: Any
    for node in template.nodelist.get_nodes_by_type(TranslateNode):
        yield node.filter_expression.var.literal
    for node in template.nodelist.get_nodes_by_type(BlockTranslateNode):
        singular = _text_of(node, node.singular)
        yield (singular, _text_of(node, node.plural)) if node.plural else singular


def _text_of(node: BlockTranslateNode, tokens: list) -> str:
    return str(node.render_token_list(tokens)[0])
