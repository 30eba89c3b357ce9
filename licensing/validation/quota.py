from licensing.models import LicenseType
from licensing.validation.base import Result, Rules, WarningLevel

UNLIMITED = -1


class Quota(Rules):
    """A number that the software keeps within; the licenses' add up."""

    def judge(self) -> Result:
        quantities = [license.quantity or 0 for license in self.of_type(LicenseType.QUANTITY)]
        quota = UNLIMITED if UNLIMITED in quantities else sum(quantities)
        return Result(quota != 0, WarningLevel.GREEN if quota else WarningLevel.RED, {"quota": quota})
