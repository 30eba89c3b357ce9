"""Updates the translations in locale/ from the sources, without GNU gettext.

`locale/` has the texts that customers and invited people read, in every language. `locale/members/` has all other
texts, for members and support staff, in the languages that have a folder there.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract, extract_from_file
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.conf import settings
from django.utils.translation.template import templatize

TEMPLATES = settings.BASE_DIR / "templates"
KEYWORDS = DEFAULT_KEYWORDS | {"gettext_lazy": None, "gettext_noop": None, "ngettext_lazy": (1, 2)}
LANGUAGES = [language for language, _ in settings.LANGUAGES if language != "en"]

CUSTOMERS, MEMBERS = map(Path, settings.LOCALE_PATHS)

# The texts for customers and invited people.
TRANSLATED_EMAILS = ("emails/delivery.html", "emails/delivery.txt", "emails/lost_key.txt", "emails/invitation.txt")
CUSTOMERS_TEMPLATES = ("customer/*.html", *TRANSLATED_EMAILS)
CUSTOMERS_MODULES = ("delivery/composition.py", "portal/customer/lost_key.py", "portal/customer/order.py")
# Of these, only the messages in gettext_noop().
SOURCES = ("fulfillment/sources/base.py", "fulfillment/sources/*/source.py", "outbound/mail.py")

NOT_SHOWN = re.compile(r"(^|/)(\.\w+|tests|migrations|management|benchmarks|faults|demo|examples|var|node_modules)/")

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def catalogs() -> Iterator[tuple[Path, Catalog]]:
    """Yield each catalog, translated as far as it is, with the folder of its files."""
    for language in LANGUAGES:
        yield _folder(CUSTOMERS, language), catalog_of(language)
    for language in LANGUAGES:
        folder = _folder(MEMBERS, language)
        if folder.parent.is_dir() or language in settings.MEMBER_LANGUAGES:
            yield folder, _update(folder, language, _messages_for_members())


def catalog_of(language: str) -> Catalog:
    """Return the translations into a language for the messages to customers in the current sources."""
    return _update(_folder(CUSTOMERS, language), language, _messages())


def _update(folder: Path, language: str, messages: tuple[Any, ...]) -> Catalog:
    path = folder / "django.po"
    catalog = Catalog(locale=language)
    if path.exists():
        with path.open("rb") as file:
            catalog = read_po(file, locale=language)
    sources = Catalog()
    for message in messages:
        sources.add(message)
    catalog.update(sources, no_fuzzy_matching=True)
    catalog.obsolete.clear()
    # Constant, so that files don't change without reason.
    catalog.creation_date = catalog.revision_date = EPOCH
    return catalog


def missing_from(catalog: Catalog) -> list[Message]:
    return [message for message in catalog if message.id and (message.fuzzy or not all(texts_of(message)))]


def texts_of(message: Message) -> list[str]:
    """Return the translations of a message, one per plural form; missing ones are empty."""
    return list(message.string) if isinstance(message.string, list | tuple) else [message.string or ""]


def files_of(catalog: Catalog, folder: Path) -> dict[Path, bytes]:
    """Return the expected content of a catalog's files."""
    po, mo = BytesIO(), BytesIO()
    write_po(po, catalog, width=119, sort_output=True, omit_header=True)
    header = "\n".join(f'"{name}: {value}\\n"' for name, value in catalog.mime_headers if name in HEADERS)
    write_mo(mo, catalog)
    return {
        folder / "django.po": f'msgid ""\nmsgstr ""\n{header}\n\n'.encode() + po.getvalue(),
        folder / "django.mo": mo.getvalue(),
    }


HEADERS = {"Language", "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Plural-Forms"}


def _folder(root: Path, language: str) -> Path:
    return root / language / "LC_MESSAGES"


@cache
def _messages() -> tuple[Any, ...]:
    """Return the messages to customers in the sources, which are the same for every language."""
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
            yield from _messages_of_template(path)


def _messages_of_template(path: Path) -> Iterator[Any]:
    # Python that calls gettext(). Its indentation has no meaning.
    source = re.sub("^[ \t]+", "", templatize(path.read_text()), flags=re.MULTILINE)
    for _, message, _, _ in extract("python", BytesIO(source.encode()), keywords=KEYWORDS):
        yield message


@cache
def _messages_for_members() -> tuple[Any, ...]:
    """Return all messages that aren't in the customers' catalogs."""
    customers = {_key(message) for message in _messages()}
    found = {_key(message): message for message in all_messages()}
    return tuple(message for key, message in found.items() if key not in customers)


def _key(message: Any) -> str:
    return message if isinstance(message, str) else message[0]


def all_messages() -> Iterator[Any]:
    """Yield every message of the sources: a text, or its singular and plural."""
    for path in sorted(settings.BASE_DIR.glob("*/**/*.py")):
        if not NOT_SHOWN.search(str(path.relative_to(settings.BASE_DIR))):
            yield from (message for _, message, _, _ in extract_from_file("python", path, keywords=KEYWORDS))
    for path in sorted(TEMPLATES.rglob("*.*")):
        if path.suffix in {".html", ".txt"}:
            yield from _messages_of_template(path)
    yield from sorted(import_module("portal.templatetags.portal").LOOKS)
    yield from sorted(import_module("portal.names").shown_names())
    yield from sorted(import_module("portal.api_docs.reading").read_texts())
