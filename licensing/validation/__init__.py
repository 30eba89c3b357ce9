"""Whether a licensee may use a product: the rules of each licensing model, and what a validation writes."""

from collections.abc import Iterable, Mapping

from django.db import transaction
from django.utils import timezone

from licensing.errors import NotFound
from licensing.models import License, Licensee, LicenseTemplate, LicensingModel, ProductModule
from licensing.validation.base import Result, Rules, Validation, WarningLevel
from licensing.validation.floating import Floating
from licensing.validation.multi_feature import MultiFeature
from licensing.validation.node_locked import NodeLocked
from licensing.validation.parameters import ModuleParameters, read_parameters
from licensing.validation.pay_per_use import PayPerUse
from licensing.validation.quota import Quota
from licensing.validation.rental import Rental
from licensing.validation.subscription import Subscription
from licensing.validation.try_and_buy import TryAndBuy

__all__ = ["MODELS", "Validation", "WarningLevel", "read_parameters", "validate"]

MODELS: dict[str, type[Rules]] = {
    LicensingModel.TRY_AND_BUY: TryAndBuy,
    LicensingModel.SUBSCRIPTION: Subscription,
    LicensingModel.RENTAL: Rental,
    LicensingModel.FLOATING: Floating,
    LicensingModel.MULTI_FEATURE: MultiFeature,
    LicensingModel.PAY_PER_USE: PayPerUse,
    LicensingModel.QUOTA: Quota,
    LicensingModel.NODE_LOCKED: NodeLocked,
}

Parameters = Mapping[str, ModuleParameters]


def validate(
    licensee: Licensee, parameters: Parameters | None = None, *, dry_run: bool, by: str = "", adopts: bool = False
) -> list[Validation]:
    """How it stands with each module of the licensee's product, and, unless that is a dry run, write what follows.

    A licensee that is not saved is one without licenses. Who adopts is the customer's own software: it has a marked
    licensee for good, and nobody can transfer its licenses away any more. Raises NotFound for parameters of a module
    that the product has not, and MalformedRequest.
    """
    parameters = parameters or {}
    licenses = _licenses_of(licensee)
    validations = _judge(licensee, licenses, parameters, by)
    adopts = adopts and licensee.product.clear_mark_on_validation
    if dry_run or not (_writes(validations) or adopts and _is_adoptable(licensee, licenses)):
        return validations

    with transaction.atomic():
        # It, then its licenses, as everybody does who changes what it holds: what was read before may be used up.
        locked = Licensee.objects.select_for_update(of=("self",)).select_related("product").filter(pk=licensee.pk)
        found = locked.first()
        if found is None:
            raise NotFound("Requested licensee does not exist")
        licenses = list(found.licenses.select_for_update())
        validations = _judge(found, licenses, parameters, by)
        for write in _writes(validations):
            write()
        if adopts and _is_adoptable(found, licenses):
            found.marked_for_transfer = False
            found.save(update_fields=["marked_for_transfer"])
    return validations


def _licenses_of(licensee: Licensee) -> list[License]:
    return [] if licensee.pk is None else list(licensee.licenses.all())


def _is_adoptable(licensee: Licensee, licenses: list[License]) -> bool:
    return licensee.marked_for_transfer and licensee.active and bool(licenses)


def _writes(validations: Iterable[Validation]) -> list:
    return [validation.result.write for validation in validations if validation.result.write]


def _judge(licensee: Licensee, licenses: list[License], parameters: Parameters, by: str) -> list[Validation]:
    """Inactive products, modules and templates give nobody anything new; what licensees have of them goes on."""
    product = licensee.product
    modules = list(product.modules.all())
    if unknown := parameters.keys() - {module.number for module in modules}:
        raise NotFound(f"Requested product module does not exist: {min(unknown)}")
    if not licensee.active:
        return [Validation(module, Result(False, WarningLevel.RED)) for module in modules]

    templates = LicenseTemplate.objects.filter(module__product=product).in_bulk()
    for license in licenses:
        license.template = templates[license.template_id]
    now = timezone.now()

    def judge(module: ProductModule) -> Result:
        rules = MODELS[module.licensing_model]
        held = [license for license in licenses if license.active and license.template.module_id == module.pk]
        offered = [template for template in templates.values() if template.module_id == module.pk]
        given = parameters.get(module.number, ModuleParameters())
        return rules(licensee, module, held, offered, given, now, by).judge()

    return [Validation(module, judge(module)) for module in modules]
