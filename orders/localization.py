"""How customers read: the languages that we write to them in, and their dates and prices.

Dates and prices are formatted as the Unicode CLDR has it for the language and the country.
"""

from datetime import datetime
from decimal import Decimal

from babel import Locale, UnknownLocaleError
from babel.dates import format_date
from babel.numbers import format_currency
from django.utils.translation import get_supported_language_variant

DEFAULT_LANGUAGE = "en"


def supported_language(tag: str) -> str:
    """The one of settings.LANGUAGES for readers of this language (a BCP 47 tag such as `de-AT`), or English."""
    try:
        return get_supported_language_variant(tag.lower())
    except LookupError:
        return DEFAULT_LANGUAGE


def get_locale(tag: str, country: str = "") -> Locale:
    """The locale in which a reader of this language in this country (ISO 3166-1 alpha-2) reads dates and prices."""
    language = supported_language(tag)
    region = country or tag.partition("-")[2]
    try:
        return Locale.parse(f"{language}_{region}") if region else Locale(language)
    except (UnknownLocaleError, ValueError):
        return Locale(language)


def format_day(moment: datetime, locale: Locale) -> str:
    """The day of a time, in UTC, such as “22 November 2026”."""
    return str(format_date(moment, "long", locale=locale))


def format_money(amount: Decimal, currency: str, locale: Locale) -> str:
    """An amount with its currency (ISO 4217), such as “59,98 €”."""
    return str(format_currency(amount, currency, locale=locale))
