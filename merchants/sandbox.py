"""The sandbox of a merchant: a merchant without members that holds its test data (docs/decisions/0042).

The sandbox has orders, codes, deliveries, test stock, webhook endpoints, notices, requests and API keys of its own.
Members, products with their sources, texts, checkout pages and servers belong to the live merchant, and both use them.
"""

import secrets

from merchants.models import Merchant

MAX_SLUG = 33  # characters of the live merchant's


def get_sandbox(merchant: Merchant) -> Merchant:
    """Return a live merchant's sandbox. The first call creates it."""
    slug = f"{merchant.slug[:MAX_SLUG]}-test-{secrets.token_hex(4)}"
    return Merchant.objects.get_or_create(live=merchant, defaults={"name": merchant.name, "slug": slug})[0]
