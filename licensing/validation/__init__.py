"""Decides whether a licensee may use a product, by the rules of each module's licensing model."""

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.utils import timezone

from licensing.errors import NotFound
from licensing.locks import block_deletion
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
    """Validate each module of a licensee's product. Unless it's a dry run, write usage, sessions and evaluations.

    `adopts` is true for the customer's own software: it removes the mark for transfer, so that nobody can transfer the
    licenses away. Raises NotFound if the parameters name a module the product doesn't have, and MalformedRequest.
    """
    parameters = parameters or []
    validations = _judge(holding, parameters, actor)
    adopts = adopts and holding.product.clear_mark_on_validation
    if dry_run or not (_pending_writes(validations) or adopts and _is_adoptable(holding)):
        return validations

    with transaction.atomic():
        block_deletion(holding.product)
        licensee = _lock(holding.licensee)
        holding = read_holding(licensee)
        validations = _judge(holding, parameters, actor)
        for write in _pending_writes(validations):
            write()
        if adopts and _is_adoptable(holding):
            licensee.marked_for_transfer = False
            licensee.save(update_fields=["marked_for_transfer"])
    return validations


def _lock(licensee: Licensee) -> Licensee:
    """Lock the licensee, then its licenses. Read both again afterwards: they may have changed since."""
    locked = Licensee.objects.select_for_update().defer("number").filter(pk=licensee.pk).first()
    if locked is None:
        raise NotFound("Requested licensee does not exist")
    list(locked.licenses.select_for_update().values_list("pk"))
    return locked


def _is_adoptable(holding: Holding) -> bool:
    return holding.licensee.marked_for_transfer and holding.licensee.active and bool(holding.licenses)


def _pending_writes(validations: list[Validation]) -> list[Callable[[], Any]]:
    return [validation.result.write for validation in validations if validation.result.write]


def _judge(holding: Holding, parameters: Parameters, actor: str) -> list[Validation]:
    """Inactive products, modules and templates grant nothing new, but existing licenses stay valid."""
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
        module_parameters = given.get(module.number, ModuleParameters())
        return rules(
            holding.licensee, holding.product, module, licenses, templates, module_parameters, now, actor
        ).judge()

    return [Validation(module, judge(module)) for module in holding.modules]
