from typing import Any

from django.db import transaction

from licensing.errors import IllegalOperation, Invalid
from licensing.locks import hold
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
    """Make a licensee, with a license of each automatic template, unless it is marked: then it only passes them on.

    The time to try a product out begins when it is validated first.
    """
    hold(product)
    licensee = Licensee.objects.create(merchant_id=product.merchant_id, product=product, **fields)
    if not licensee.marked_for_transfer:
        automatic = LicenseTemplate.objects.filter(
            module__product=product, automatic=True, active=True, module__active=True
        ).exclude(module__licensing_model=LicensingModel.TRY_AND_BUY, license_type=LicenseType.TIMEVOLUME)
        templates = automatic.select_related("module")
        # Features first: time volumes of Rental modules are for one of them.
        features_first = sorted(templates, key=lambda template: template.license_type != LicenseType.FEATURE)
        made = [_make(licensee, template, **_only_feature(licensee, template)) for template in features_first]
        if made:
            Transaction.note(licensee, Source.AUTO_LICENSEE_CREATE, made, actor=actor)
    return licensee


@transaction.atomic
def create_license(
    licensee: Licensee, template: LicenseTemplate, *, actor: str, joining: Transaction | None = None, **fields: Any
) -> License:
    """Give a licensee a license of its product, and note it in a transaction: the vendor's own, or a new one.

    The template says what the fields do not. Raises IllegalOperation if the template is another product's, and Invalid
    for a time volume of a Rental module without its feature.
    """
    if template.module.product_id != licensee.product_id:
        raise IllegalOperation("The license template is one of another product than the licensee.")
    hold(licensee)
    if needs_feature(template):
        fields["parent_feature"] = find_feature(licensee, template, fields.get("parent_feature", ""))
    license = _make(licensee, template, **fields)
    if joining:
        joining.joins.create(license=license, number=license.number)
    else:
        Transaction.note(licensee, Source.AUTO_LICENSE_CREATE, [license], actor=actor)
    return license


def needs_feature(template: LicenseTemplate) -> bool:
    """Whether its licenses are time for a feature, which they have to name: the time would count for nothing."""
    is_rental = template.module.licensing_model == LicensingModel.RENTAL
    return is_rental and template.license_type == LicenseType.TIMEVOLUME


def find_feature(licensee: Licensee, template: LicenseTemplate, number: str) -> str:
    """The number of the licensee's feature that a time volume is for: this one, or the only one. Raises Invalid."""
    numbers = _features(licensee, template)
    if number in numbers:
        return number
    if number:
        raise Invalid(f"parentfeature: The licensee has no FEATURE license “{number}” of this module.")
    if len(numbers) == 1:
        return numbers[0]
    count = "several FEATURE licenses" if numbers else "no FEATURE license"
    raise Invalid(
        "parentfeature: A time volume of a Rental module needs the number of one of the licensee's FEATURE licenses"
        f" of this module; it has {count}."
    )


def _features(licensee: Licensee, template: LicenseTemplate) -> list[str]:
    of_module = licensee.licenses.filter(template__module=template.module_id)
    return list(of_module.filter(template__license_type=LicenseType.FEATURE).values_list("number", flat=True))


def _only_feature(licensee: Licensee, template: LicenseTemplate) -> dict[str, str]:
    numbers = _features(licensee, template) if needs_feature(template) else []
    return {"parent_feature": numbers[0]} if len(numbers) == 1 else {}


def _make(licensee: Licensee, template: LicenseTemplate, **fields: Any) -> License:
    values = template.terms | {"name": template.name} | fields
    return License.objects.create(merchant_id=licensee.merchant_id, licensee=licensee, template=template, **values)
