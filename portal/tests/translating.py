"""Catalogs for tests, and a pseudo-language that reveals untranslated texts and layouts without room for long ones."""

import re
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from django.utils.translation.trans_real import translation

from runtime.translations import all_messages
from work import stored_texts

LONGER = str.maketrans({plain: accented + plain for plain, accented in zip("aeiouAEIOU", "áéíóúÁÉÍÓÚ", strict=True)})
KEPT = re.compile(r"(%\(\w+\)[sd]|%%|\{[^}]*\}|<[^>]*>|&\w+;)")


def install(settings, folder, language, messages):
    """Translate messages into a language, by their ids, and offer it to members."""
    catalog = Catalog(locale=language)
    for message, text in messages.items():
        catalog.add(message, text)
    path = folder / language / "LC_MESSAGES/django.mo"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        write_mo(file, catalog)
    stored_texts._messages.cache_clear()
    stored_texts._translate.cache_clear()
    settings.LOCALE_PATHS = [folder, *settings.LOCALE_PATHS]
    settings.MEMBER_LANGUAGES = ["en", language]


def pseudo(text):
    """“Orders” becomes “Óordéers”: 40 percent longer, with accents that show that it was translated."""
    return "".join(part if KEPT.fullmatch(part) else part.translate(LONGER) for part in KEPT.split(text))


def install_pseudo(settings, folder, language="de"):
    djangos: Any = translation(language)
    messages: dict[Any, Any] = {text: pseudo(text) for text, _ in djangos._catalog.items() if is_plain(text)}
    for message in all_messages():
        forms = [message] if isinstance(message, str) else message
        translated = [pseudo(form) for form in forms]
        messages[message] = translated[0] if len(forms) == 1 else tuple(translated)
    install(settings, folder, language, messages)


def is_plain(key):
    """Whether a key of Django's catalogs is a message without a context or plural."""
    return isinstance(key, str) and key and "\4" not in key
