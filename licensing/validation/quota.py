from licensing.models import LicenseType
from licensing.validation.base import Result, Rules, WarningLevel

UNLIMITED = -1


class Quota(Rules):
    """A number that the software keeps within; the licenses' add up."""

    def judge(self) -> Result:
        licenses = self.of_type(LicenseType.QUANTITY)
        quantities = [license.quantity or 0 for license in licenses]
        quota = UNLIMITED if UNLIMITED in quantities else sum(quantities)
        if not quota:
            reason = "The quota is 0." if licenses else self.lacking(LicenseType.QUANTITY)
            return Result(False, WarningLevel.RED, {"quota": quota}, reason=reason)
        return Result(True, WarningLevel.GREEN, {"quota": quota})
