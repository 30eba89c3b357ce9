from typing import Any

from django.db import transaction

from licensing.errors import IllegalOperation, Invalid
from licensing.locks import block_deletion
from licensing.models import (
    License,
    Licensee,
    LicenseTemplate,
    LicenseType,
    LicensingModel,
    LicensingProduct,
    Transaction,
)

Source = Transaction.Source


@transaction.atomic
def create_licensee(product: LicensingProduct, *, actor: str, **fields: Any) -> Licensee:
    """Create a licensee with a license from each automatic template.

    A licensee marked for transfer gets none: it only passes licenses on. Try & Buy evaluations start with the first
    validation instead.
    """
    block_deletion(product)
    licensee = Licensee.objects.create(merchant_id=product.merchant_id, product=product, **fields)
    if not licensee.marked_for_transfer:
        automatic = LicenseTemplate.objects.filter(
            module__product=product, automatic=True, active=True, module__active=True
        ).exclude(module__licensing_model=LicensingModel.TRY_AND_BUY, license_type=LicenseType.TIMEVOLUME)
        templates = automatic.select_related("module")
        # Features first: time volumes of Rental modules refer to one.
        features_first = sorted(templates, key=lambda template: template.license_type != LicenseType.FEATURE)
        created = [
            _create_license(licensee, template, **_single_feature(licensee, template)) for template in features_first
        ]
        if created:
            Transaction.record(licensee, Source.AUTO_LICENSEE_CREATE, created, actor=actor)
    return licensee


@transaction.atomic
def create_license(
    licensee: Licensee, template: LicenseTemplate, *, actor: str, joining: Transaction | None = None, **fields: Any
) -> License:
    """Create a license and record it in the given transaction, or in a new one.

    The template provides the defaults. Raises IllegalOperation if the template belongs to another product, and Invalid
    for a time volume of a Rental module without its feature.
    """
    if template.module.product_id != licensee.product_id:
        raise IllegalOperation("The license template and the licensee belong to different products.")
    block_deletion(licensee)
    if needs_feature(template):
        fields["parent_feature"] = find_feature(licensee, template, fields.get("parent_feature", ""))
    license = _create_license(licensee, template, **fields)
    if joining:
        joining.joins.create(license=license, number=license.number)
    else:
        Transaction.record(licensee, Source.AUTO_LICENSE_CREATE, [license], actor=actor)
    return license


def needs_feature(template: LicenseTemplate) -> bool:
    """Return whether its licenses have to name a feature: time volumes of Rental modules count only for one."""
    is_rental = template.module.licensing_model == LicensingModel.RENTAL
    return is_rental and template.license_type == LicenseType.TIMEVOLUME


def find_feature(licensee: Licensee, template: LicenseTemplate, number: str) -> str:
    """Return the number of the feature that a time volume extends: the given or the only one. Raises Invalid."""
    numbers = _features(licensee, template)
    if number in numbers:
        return number
    if number:
        raise Invalid(f"parentfeature: The licensee has no FEATURE license “{number}” of this module.")
    if len(numbers) == 1:
        return numbers[0]
    count = "several" if numbers else "none"
    raise Invalid(
        "parentfeature: A time volume of a Rental module needs the number of one of the licensee's FEATURE licenses"
        f" of this module. The licensee has {count}."
    )


def _features(licensee: Licensee, template: LicenseTemplate) -> list[str]:
    features = licensee.licenses.filter(
        template__module=template.module_id, template__license_type=LicenseType.FEATURE
    )
    return list(features.values_list("number", flat=True))


def _single_feature(licensee: Licensee, template: LicenseTemplate) -> dict[str, str]:
    numbers = _features(licensee, template) if needs_feature(template) else []
    return {"parent_feature": numbers[0]} if len(numbers) == 1 else {}


def _create_license(licensee: Licensee, template: LicenseTemplate, **fields: Any) -> License:
    values = template.terms | {"name": template.name} | fields
    return License.objects.create(merchant_id=licensee.merchant_id, licensee=licensee, template=template, **values)
