"""What a validation goes by, read at once: it is asked for far more often than all else together."""

import json
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from django.db import connection, models

from licensing.models import License, Licensee, LicenseTemplate, Product, ProductModule

Row = TypeVar("Row", bound=models.Model)

# One statement instead of four, none of which the ORM has to put together: that halves the time of a validation.
READ = """
    SELECT 'product', to_jsonb(product) FROM licensing_product product WHERE product.id = %(product)s
    UNION ALL
    SELECT 'module', to_jsonb(module) FROM licensing_productmodule module WHERE module.product_id = %(product)s
    UNION ALL
    SELECT 'template', to_jsonb(template) FROM licensing_licensetemplate template
        JOIN licensing_productmodule module ON module.id = template.module_id WHERE module.product_id = %(product)s
    UNION ALL
    SELECT 'license', to_jsonb(license) FROM licensing_license license WHERE license.licensee_id = %(licensee)s
"""


@dataclass
class Holding:
    """A licensee's product, the modules of that, their templates, and its licenses; each the oldest first."""

    product: Product
    modules: list[ProductModule]
    templates: list[LicenseTemplate]
    licenses: list[License]


def read_holding(licensee: Licensee) -> Holding:
    """A licensee that is not saved has no licenses."""
    with connection.cursor() as cursor:
        cursor.execute(READ, {"product": licensee.product_id, "licensee": licensee.pk})
        rows = [(kind, json.loads(text, parse_float=Decimal)) for kind, text in cursor]

    def instances(kind: str, model: type[Row]) -> list[Row]:
        found = [_instance(model, values) for each, values in rows if each == kind]
        return sorted(found, key=lambda row: row.pk)

    [product] = instances("product", Product)
    templates = instances("template", LicenseTemplate)
    licenses = instances("license", License)
    by_pk = {template.pk: template for template in templates}
    for license in licenses:
        license.template = by_pk[license.template_id]
    return Holding(product, instances("module", ProductModule), templates, licenses)


def _instance(model: type[Row], values: dict[str, Any]) -> Row:
    """A row as the ORM gives it, from one in JSON, where moments are texts."""
    for name in ("created_at", "start_date"):
        if values.get(name):
            values[name] = datetime.fromisoformat(values[name])
    names = [field.attname for field in model._meta.concrete_fields]
    return model.from_db(connection.alias, names, [values[name] for name in names])
