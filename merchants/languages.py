"""The languages in which members and support staff read pages and get notices.

Customers have more (settings.LANGUAGES): their few texts are translated into each of them.
"""

from collections import defaultdict
from collections.abc import Iterable

from django.conf import settings
from django.utils.translation import get_supported_language_variant
from django.utils.translation.trans_real import parse_accept_lang_header

from merchants.models import Merchant, User

DEFAULT_LANGUAGE = "en"


def offered(language: str) -> str:
    """Return the language if all texts are translated into it, otherwise English."""
    return language if language in settings.MEMBER_LANGUAGES else DEFAULT_LANGUAGE


def best_language(accepted: str) -> str:
    """Return the first offered language of an Accept-Language header; English if it has none."""
    for tag, _ in parse_accept_lang_header(accepted):
        try:
            language = get_supported_language_variant(tag)
        except LookupError:
            continue
        if language in settings.MEMBER_LANGUAGES:
            return language
    return DEFAULT_LANGUAGE


def by_language(addresses: Iterable[str], merchant: Merchant) -> dict[str, list[str]]:
    """Group e-mail addresses by their readers’ languages. Other people’s is the merchant’s language."""
    addresses = list(addresses)
    chosen = dict(User.objects.filter(email__in=[each.lower() for each in addresses]).values_list("email", "language"))
    groups = defaultdict(list)
    for address in addresses:
        groups[offered(chosen.get(address.lower()) or merchant.vendor.language)].append(address)
    return dict(groups)
