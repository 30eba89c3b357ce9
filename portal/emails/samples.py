"""An order that nobody placed, to show merchants what their customers would read."""

from decimal import Decimal

from django.utils import timezone

from delivery.composition import Enclosed, Letter
from merchants.models import Merchant, Product
from orders.models import Order, OrderItem

# First name, last name and country of who reads a language.
CUSTOMERS = {
    "en": ("Ada", "Byron", "GB"),
    "de": ("Käthe", "Schönfeld", "DE"),
    "fr": ("Amélie", "Moreau", "FR"),
    "es": ("Lucía", "García", "ES"),
    "ru": ("Софья", "Ковалевская", "RU"),
}


def sample_letter(merchant: Merchant, product: Product | None, language: str) -> Letter:
    """Three of a product, two codes ready: what a mail in this language is about."""
    first_name, last_name, country = CUSTOMERS[language]
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
    enclosed = Enclosed(item, codes, ["AAAAA-BBBBB-CCCCC-1ST00"], sources=sources)
    return Letter(order, [enclosed], still_to_come=[(item, 1)])
