from licensing.envelope import Info
from licensing.models import License, LicenseType
from licensing.validation.base import ModuleResult, Rules, WarningLevel

UNLIMITED = -1


class QuotaRules(Rules):
    def judge(self) -> ModuleResult:
        licenses = self.of_type(LicenseType.QUANTITY)
        quantities = [license.quantity or 0 for license in licenses]
        quota = UNLIMITED if UNLIMITED in quantities else sum(quantities)
        if not quota:
            reason = "The quota is 0." if licenses else self.lacking(LicenseType.QUANTITY)
            return ModuleResult(False, WarningLevel.RED, {"quota": quota}, reason=reason)
        return ModuleResult(True, WarningLevel.GREEN, {"quota": quota})


MAX_QUANTITY = 2**63 - 1
EXCEEDED = Info(
    "usedQuantityExceedsRemaining",
    "More was used than remained. The software should not use more than the last validation said remains.",
    "WARNING",
)


class PayPerUseRules(Rules):
    """So many units, which are written off as they are used (usedQuantity), or before (reserveQuantity)."""

    PARAMETERS = frozenset({"usedQuantity", "reserveQuantity"})

    def judge(self) -> ModuleResult:
        used, reserved = self.parameters.quantity("usedQuantity"), self.parameters.quantity("reserveQuantity")
        if used is not None and reserved is not None:
            raise self.parameters.malformed("reserveQuantity", "excludes usedQuantity")

        licenses = self.of_type(LicenseType.QUANTITY)
        given = sum(map(given_by, licenses))
        remaining = given - sum(license.used_quantity for license in licenses)
        if reserved is not None:
            valid = bool(licenses) and reserved <= remaining
            result = self._result(valid, licenses, given, remaining, reserved if valid else 0)
            if not valid and licenses:
                result.reason = f"{reserved} units were to be reserved, and {remaining} remain."
            return result
        written = used or 0
        if any(license.used_quantity + written > MAX_QUANTITY for license in licenses):
            raise self.parameters.malformed("usedQuantity", "cannot be counted any more")
        result = self._result(remaining > written, licenses, given, remaining, written)
        if written > remaining:
            result.infos.append(EXCEEDED)
        return result

    def _result(self, valid: bool, licenses: list[License], given: int, remaining: int, written: int) -> ModuleResult:
        # Without a license there is nothing that anything could be written off.
        left = remaining - written if licenses else 0
        return ModuleResult(
            valid,
            WarningLevel.of_usage(given - left, given),
            {"remainingQuantity": left},
            write=(lambda: write_off(licenses, written)) if written and licenses else None,
            reason="" if valid else self._reason(licenses, left),
        )

    def _reason(self, licenses: list[License], left: int) -> str:
        return f"No units remain ({left})." if licenses else self.lacking(LicenseType.QUANTITY)


def given_by(license: License) -> int:
    return max(license.quantity or 0, 0)


def write_off(licenses: list[License], quantity: int) -> None:
    """Take it from the oldest license that has some, and so on; what none of them has, from the last."""
    for license in licenses:
        part = (
            quantity if license is licenses[-1] else min(quantity, max(given_by(license) - license.used_quantity, 0))
        )
        if part:
            license.used_quantity += part
            license.save(update_fields=["used_quantity"])
        quantity -= part
