from licensing.envelope import Info
from licensing.models import License, LicenseType
from licensing.validation.base import ModuleResult, Rules, WarningLevel

UNLIMITED = -1


class QuotaRules(Rules):
    def judge(self) -> ModuleResult:
        licenses = self.active_licenses(LicenseType.QUANTITY)
        quantities = [license.quantity or 0 for license in licenses]
        quota = UNLIMITED if UNLIMITED in quantities else sum(quantities)
        if not quota:
            reason = "The quota is 0." if licenses else self.explain_missing(LicenseType.QUANTITY)
            return ModuleResult(False, WarningLevel.RED, {"quota": quota}, reason=reason)
        return ModuleResult(True, WarningLevel.GREEN, {"quota": quota})


MAX_QUANTITY = 2**63 - 1
EXCEEDED = Info(
    "usedQuantityExceedsRemaining",
    "More units were used than remained. Don't use more than the last validation reported as remaining.",
    "WARNING",
)


class PayPerUseRules(Rules):
    """A number of units, deducted after use (usedQuantity) or in advance (reserveQuantity)."""

    PARAMETERS = frozenset({"usedQuantity", "reserveQuantity"})

    def judge(self) -> ModuleResult:
        used, reserved = self.parameters.quantity("usedQuantity"), self.parameters.quantity("reserveQuantity")
        if used is not None and reserved is not None:
            raise self.parameters.malformed("reserveQuantity", "can't be combined with usedQuantity")

        licenses = self.active_licenses(LicenseType.QUANTITY)
        given = sum(map(granted_quantity, licenses))
        remaining = given - sum(license.used_quantity for license in licenses)
        if reserved is not None:
            valid = bool(licenses) and reserved <= remaining
            result = self._result(valid, licenses, given, remaining, reserved if valid else 0)
            if not valid and licenses:
                result.reason = f"Can't reserve {reserved} units: {remaining} remain."
            return result
        written = used or 0
        if any(license.used_quantity + written > MAX_QUANTITY for license in licenses):
            raise self.parameters.malformed("usedQuantity", "is too large to be recorded")
        result = self._result(remaining > written, licenses, given, remaining, written)
        if written > remaining:
            result.infos.append(EXCEEDED)
        return result

    def _result(self, valid: bool, licenses: list[License], given: int, remaining: int, written: int) -> ModuleResult:
        # Without a license there is nothing to deduct from.
        left = remaining - written if licenses else 0
        return ModuleResult(
            valid,
            WarningLevel.from_usage(given - left, given),
            {"remainingQuantity": left},
            write=(lambda: deduct(licenses, written)) if written and licenses else None,
            reason="" if valid else self._reason(licenses, left),
        )

    def _reason(self, licenses: list[License], left: int) -> str:
        return f"No units remain ({left})." if licenses else self.explain_missing(LicenseType.QUANTITY)


def granted_quantity(license: License) -> int:
    return max(license.quantity or 0, 0)


def deduct(licenses: list[License], quantity: int) -> None:
    """Deduct from the oldest license with units left, then the next. The last license takes any excess."""
    for license in licenses:
        part = (
            quantity
            if license is licenses[-1]
            else min(quantity, max(granted_quantity(license) - license.used_quantity, 0))
        )
        if part:
            license.used_quantity += part
            license.save(update_fields=["used_quantity"])
        quantity -= part
