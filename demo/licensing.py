"""The licensed product of the demo's merchant: four modules, and licensees, one of them with a transferred license.

The shop sells it too: customers receive the number of a licensee.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone

from fulfillment.product_sources import add_source
from fulfillment.sources.netlicensing.models import LicensePackage, LicensingAccount
from licensing.creation import create_license, create_licensee
from licensing.models import (
    License,
    Licensee,
    LicenseTemplate,
    LicensingModel,
    LicensingProduct,
    Role,
    Token,
    Transaction,
    VendorLogin,
)
from licensing.transfer import transfer
from merchants.models import Merchant, Product

ACTOR = "demo"
PRODUCT = "P-PHOTO"
# Each module with its templates: number, name, grant, price in EUR.
MODULES: dict[tuple[str, str, str], list[tuple[str, str, dict[str, Any], str]]] = {
    ("M-UPDATES", "Updates", LicensingModel.SUBSCRIPTION): [
        ("E-MONTH", "Month of updates", {"license_type": "TIMEVOLUME", "time_volume_period": "MONTH"}, "4.90"),
        ("E-YEAR", "Year of updates", {"license_type": "TIMEVOLUME", "time_volume_period": "YEAR"}, "49.00"),
    ],
    ("M-RENDER", "Cloud rendering", LicensingModel.PAY_PER_USE): [
        ("E-RENDER-100", "100 renderings", {"license_type": "QUANTITY", "quantity": 100}, "9.90")
    ],
    ("M-PLUGINS", "Plug-ins", LicensingModel.MULTI_FEATURE): [
        ("E-RAW", "Raw development", {"license_type": "FEATURE"}, "19.00"),
        ("E-PANORAMA", "Panorama", {"license_type": "FEATURE"}, "15.00"),
    ],
    ("M-SEATS", "Studio seats", LicensingModel.FLOATING): [
        ("E-SEATS-5", "Five seats", {"license_type": "FLOATING", "max_sessions": 5}, "99.00")
    ],
}
# Number, name, templates of its licenses, age in days.
LICENSEES = [
    ("DEMO-BYRON-4F7K2M9Q", "Ada Byron", ["E-YEAR", "E-RENDER-100", "E-RAW"], 300),
    ("DEMO-STUDIO-8H3V6X1T", "Atelier Lindholm", ["E-YEAR", "E-SEATS-5", "E-RENDER-100"], 120),
    ("DEMO-STERN-2C9N5B7W", "Emil Stern", ["E-MONTH"], 90),
]
# A later purchase of Ada's, whose licenses her program transferred.
BOUGHT_LATER = ("DEMO-LATER-6D1P8R3Z", "Order of Ada Byron", ["E-MONTH", "E-PANORAMA"], 12)

# Products of the shop: SKU, name, templates of the licenses that customers get.
SOLD = ("PHOTO-MONTH", "Photo Studio for a month", ["E-MONTH", "E-RENDER-100", "E-RAW"])


@transaction.atomic
def make_licensing(merchant: Merchant) -> dict[str, str]:
    """Return the credentials of the vendor's software, by their names in demo.env."""
    product = make_product(merchant)
    licensees = [make_licensee(product, *facts) for facts in LICENSEES]
    bought = make_licensee(product, *BOUGHT_LATER, marked_for_transfer=True)
    transfer(licensees[0], bought, actor=ACTOR)
    moved_at = bought.created_at + timedelta(hours=2)
    Transaction.objects.filter(source_licensee=bought).update(created_at=moved_at, closed_at=moved_at)

    sell(merchant, product)
    login, password = VendorLogin.objects.create_login(merchant, "demo", created_by=ACTOR)
    return {"NLIC_USER": login.user_name, "NLIC_PASSWORD": password}


def sell(merchant: Merchant, product: LicensingProduct) -> None:
    sku, name, templates = SOLD
    key = Token.objects.create(
        merchant=merchant, token_type=Token.Type.APIKEY, api_key_role=Role.OPERATION, name="Keywell’s own orders"
    )
    account = LicensingAccount.objects.create(merchant=merchant, name="Keywell", api_key=key.number)
    package = LicensePackage.objects.create(
        merchant=merchant, account=account, name=name, product_number=product.number
    )
    for position, number in enumerate(templates, 1):
        package.templates.create(position=position, number=number)
    sold, _ = merchant.products.get_or_create(
        sku=sku, defaults={"name": name, "quantity_rule": Product.QuantityRule.ONE_PER_ITEM}
    )
    if not sold.fulfillment_methods.exists():
        add_source(sold, "netlicensing", package)


def make_product(merchant: Merchant) -> LicensingProduct:
    product = LicensingProduct.objects.create(merchant=merchant, number=PRODUCT, name="Photo Studio", version="4")
    for (number, name, model), templates in MODULES.items():
        validity = 3600 if model == LicensingModel.FLOATING else None
        module = product.modules.create(
            merchant=merchant, number=number, name=name, licensing_model=model, max_checkout_validity=validity
        )
        for template, title, terms, price in templates:
            terms = terms | {"time_volume": 1} if terms["license_type"] == "TIMEVOLUME" else terms
            terms = terms | {"name": title, "price": Decimal(price), "currency": "EUR"}
            LicenseTemplate.objects.create(merchant=merchant, module=module, number=template, **terms)
    return product


def make_licensee(
    product: LicensingProduct, number: str, name: str, templates: list[str], days_ago: int, **fields: Any
) -> Licensee:
    made_at = timezone.now() - timedelta(days=days_ago)
    licensee = create_licensee(product, actor=ACTOR, number=number, name=name, **fields)
    for template in LicenseTemplate.objects.filter(merchant=product.merchant_id, number__in=templates).order_by("pk"):
        create_license(licensee, template, actor=ACTOR, start_date=made_at)
    for rows in (License.objects.filter(licensee=licensee), Transaction.objects.filter(licensee=licensee)):
        rows.update(created_at=made_at)
    licensee.created_at = made_at
    licensee.save(update_fields=["created_at"])
    return licensee
