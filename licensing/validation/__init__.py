"""Whether a licensee may use a product: the rules of each licensing model, and what a validation writes."""

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.utils import timezone

from licensing.errors import NotFound
from licensing.locks import hold
from licensing.models import Licensee, LicensingModel, ProductModule
from licensing.validation.base import (
    ModuleParameters,
    ModuleResult,
    Parameters,
    Rules,
    Validation,
    WarningLevel,
    assign,
    read_parameters,
)
from licensing.validation.floating import FloatingRules
from licensing.validation.holdings import Holding, find_holding, read_holding
from licensing.validation.multi_feature import MultiFeatureRules
from licensing.validation.node_locked import NodeLockedRules
from licensing.validation.quantities import PayPerUseRules, QuotaRules
from licensing.validation.time_volumes import RentalRules, SubscriptionRules, TryAndBuyRules

MODELS: dict[str, type[Rules]] = {
    LicensingModel.TRY_AND_BUY: TryAndBuyRules,
    LicensingModel.SUBSCRIPTION: SubscriptionRules,
    LicensingModel.RENTAL: RentalRules,
    LicensingModel.FLOATING: FloatingRules,
    LicensingModel.MULTI_FEATURE: MultiFeatureRules,
    LicensingModel.PAY_PER_USE: PayPerUseRules,
    LicensingModel.QUOTA: QuotaRules,
    LicensingModel.NODE_LOCKED: NodeLockedRules,
}


def validate(
    holding: Holding, parameters: Parameters | None = None, *, dry_run: bool, actor: str = "", adopts: bool = False
) -> list[Validation]:
    """How it stands with each module of a licensee's product, and, unless that is a dry run, write what follows.

    Who adopts is the customer's own software: it has a marked
    licensee for good, and nobody can transfer its licenses away any more. Raises NotFound for parameters of a module
    that the product has not, and MalformedRequest.
    """
    parameters = parameters or []
    validations = _judge(holding, parameters, actor)
    adopts = adopts and holding.product.clear_mark_on_validation
    if dry_run or not (_writes(validations) or adopts and _is_adoptable(holding)):
        return validations

    with transaction.atomic():
        hold(holding.product)
        licensee = _lock(holding.licensee)
        holding = read_holding(licensee)
        validations = _judge(holding, parameters, actor)
        for write in _writes(validations):
            write()
        if adopts and _is_adoptable(holding):
            licensee.marked_for_transfer = False
            licensee.save(update_fields=["marked_for_transfer"])
    return validations


def _lock(licensee: Licensee) -> Licensee:
    """Lock it, then its licenses, as all do who change what it holds. What was read before may be used up since."""
    locked = Licensee.objects.select_for_update().defer("number").filter(pk=licensee.pk).first()
    if locked is None:
        raise NotFound("Requested licensee does not exist")
    list(locked.licenses.select_for_update().values_list("pk"))
    return locked


def _is_adoptable(holding: Holding) -> bool:
    return holding.licensee.marked_for_transfer and holding.licensee.active and bool(holding.licenses)


def _writes(validations: list[Validation]) -> list[Callable[[], Any]]:
    return [validation.result.write for validation in validations if validation.result.write]


def _judge(holding: Holding, parameters: Parameters, actor: str) -> list[Validation]:
    """Inactive products, modules and templates give nobody anything new; what licensees have of them goes on."""
    known = {module.number: MODELS[module.licensing_model].PARAMETERS for module in holding.modules}
    given = assign(parameters, known)
    if unknown := given.keys() - known:
        raise NotFound(f"Requested product module does not exist: {min(unknown)}")
    if not holding.licensee.active:
        inactive = ModuleResult(False, WarningLevel.RED, reason="The licensee is inactive.")
        return [Validation(module, inactive) for module in holding.modules]

    now = timezone.now()

    def judge(module: ProductModule) -> ModuleResult:
        rules = MODELS[module.licensing_model]
        licenses = [license for license in holding.licenses if license.template.module_id == module.pk]
        templates = [template for template in holding.templates if template.module_id == module.pk]
        own = given.get(module.number, ModuleParameters())
        return rules(holding.licensee, holding.product, module, licenses, templates, own, now, actor).judge()

    return [Validation(module, judge(module)) for module in holding.modules]
