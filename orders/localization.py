"""Languages, dates and prices for customers, and prices for members.

For customers, dates and prices follow the Unicode CLDR for their language and country.
"""

import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_timedelta
from babel.numbers import format_currency
from django.utils.formats import number_format
from django.utils.translation import get_language, get_supported_language_variant

from orders.money import in_currency

DEFAULT_LANGUAGE = "en"


def supported_language(tag: str) -> str:
    """Return the best of settings.LANGUAGES for a BCP 47 tag such as `de-AT`; English if none fits."""
    try:
        return get_supported_language_variant(tag.lower())
    except LookupError:
        return DEFAULT_LANGUAGE


@lru_cache(1000)
def get_locale(tag: str, country: str = "") -> Locale:
    """Return the locale for a language tag and a country (ISO 3166-1 alpha-2)."""
    language = supported_language(tag)
    region = country or tag.partition("-")[2]
    try:
        return Locale.parse(f"{language}_{region}") if region else Locale(language)
    except (UnknownLocaleError, ValueError):
        return Locale(language)


def format_day(moment: datetime, locale: Locale) -> str:
    return _format_date(moment.date(), locale)


@lru_cache(1000)
def _format_date(day: date, locale: Locale) -> str:
    return str(format_date(day, "long", locale=locale))


def format_wait(distance: timedelta, locale: Locale) -> str:
    """Format a waiting time, rounded up, such as “in 12 minutes”."""
    unit: Literal["hour", "minute"] = "hour" if distance > timedelta(hours=1) else "minute"
    length = timedelta(**{f"{unit}s": 1})
    rounded_up = -(-distance // length) * length
    return str(format_timedelta(rounded_up, granularity=unit, threshold=60.1, add_direction=True, locale=locale))


def format_money(amount: Decimal, currency: str, locale: Locale) -> str:
    """Format an amount with its currency (ISO 4217), such as “59,98 €”."""
    # CLDR puts a space between letters and digits, as in “KWD 1.525”, which Babel omits.
    return re.sub(r"(?<=[^\W\d_])(?=\d)", "\N{NO-BREAK SPACE}", format_currency(amount, currency, locale=locale))


def show_money(amount: Decimal, currency: str) -> str:
    """Format an amount with its currency’s code in the active language, such as “EUR 59.98” or “59,98 EUR”."""
    number = number_format(in_currency(amount, currency), force_grouping=True)
    is_first = get_locale(get_language() or DEFAULT_LANGUAGE).currency_formats["standard"].pattern.startswith("¤")
    return (f"{currency} {number}" if is_first else f"{number} {currency}").strip()
