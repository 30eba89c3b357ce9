"""The data of benchmarks/validation.py: a licensee of a product with three modules, among many others."""

from django.db import connection

from licensing.creation import create_license, create_licensee
from licensing.models import Licensee, LicenseTemplate, LicensingProduct, ProductModule, Role, Token
from licensing.models.catalog import new_number
from merchants.models import Merchant
from vault.fingerprints import fingerprint

# Each module with the type and terms of its templates, and the licensee's number of licenses.
MODULES: dict[str, tuple[str, dict, list[int]]] = {
    "Subscription": ("TIMEVOLUME", {"time_volume": 1, "time_volume_period": "YEAR"}, [3]),
    "PayPerUse": ("QUANTITY", {"quantity": 100}, [2]),
    "MultiFeature": ("FEATURE", {}, [1, 1, 0]),
}


def fill(others: int) -> str:
    """Create the data; return the number of a licensee's API key."""
    merchant = Merchant.objects.create(name="Benchmark", slug="benchmark")
    product = LicensingProduct.objects.create(merchant=merchant, number="P-1", name="Photo")
    add_others(product, others)
    licensee = create_licensee(product, actor="benchmark", number="I-1")
    for model, (license_type, terms, counts) in MODULES.items():
        module = ProductModule.objects.create(merchant=merchant, product=product, name=model, licensing_model=model)
        for count in counts:
            template = LicenseTemplate.objects.create(
                merchant=merchant, module=module, name=model, license_type=license_type, **terms
            )
            for _ in range(count):
                create_license(licensee, template, actor="benchmark")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    key = Token.objects.create(merchant=merchant, token_type=Token.Type.APIKEY, api_key_role=Role.LICENSEE)
    return key.number


def add_others(product: LicensingProduct, count: int) -> None:
    licensees = []
    for _ in range(count):
        number = new_number("I")
        licensees.append(
            Licensee(merchant_id=product.merchant_id, product=product, number=number, fingerprint=fingerprint(number))
        )
    Licensee.objects.bulk_create(licensees, batch_size=1000, ignore_conflicts=True)
