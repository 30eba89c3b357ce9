"""Making licensees and licenses, and noting that they were made."""

from typing import Any

from django.db import transaction

from licensing.errors import IllegalOperation
from licensing.locks import hold
from licensing.models import License, Licensee, LicenseTemplate, LicenseType, LicensingModel, Product, Transaction

Source = Transaction.Source


@transaction.atomic
def create_licensee(product: Product, *, by: str, **fields: Any) -> Licensee:
    """Make a licensee, with a license of each automatic template, unless it is marked: then it only passes them on.

    The time to try a product out begins when it is validated first.
    """
    hold(product)
    licensee = Licensee.objects.create(merchant_id=product.merchant_id, product=product, **fields)
    if not licensee.marked_for_transfer:
        templates = LicenseTemplate.objects.filter(
            module__product=product, automatic=True, active=True, module__active=True
        ).exclude(module__licensing_model=LicensingModel.TRY_AND_BUY, license_type=LicenseType.TIMEVOLUME)
        made = [_make(licensee, template) for template in templates]
        if made:
            Transaction.note(licensee, Source.AUTO_LICENSEE_CREATE, made, by=by)
    return licensee


@transaction.atomic
def create_license(
    licensee: Licensee, template: LicenseTemplate, *, by: str, joining: Transaction | None = None, **fields: Any
) -> License:
    """Give a licensee a license of its product, and note it in a transaction: the vendor's own, or a new one.

    The template says what the fields do not. Raises IllegalOperation if the template is another product's.
    """
    if template.module.product_id != licensee.product_id:
        raise IllegalOperation("The license template is one of another product than the licensee.")
    hold(licensee)
    license = _make(licensee, template, **fields)
    if joining:
        joining.joins.create(license=license, number=license.number)
    else:
        Transaction.note(licensee, Source.AUTO_LICENSE_CREATE, [license], by=by)
    return license


def _make(licensee: Licensee, template: LicenseTemplate, **fields: Any) -> License:
    values = template.terms | {"name": template.name} | fields
    return License.objects.create(merchant_id=licensee.merchant_id, licensee=licensee, template=template, **values)
