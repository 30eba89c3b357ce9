from licensing.models import LicenseType
from licensing.validation.base import Result, Rules, WarningLevel
from licensing.validation.time_volumes import next_begin, span_at, why_not


class Subscription(Rules):
    """Good for a time, which each further license prolongs."""

    def judge(self) -> Result:
        licenses = self.of_type(LicenseType.TIMEVOLUME)
        span = span_at(self.now, licenses)
        if span is None:
            reason = why_not(self.now, licenses) or self.lacking(LicenseType.TIMEVOLUME)
            return Result(False, WarningLevel.RED, changes_at=next_begin(self.now, licenses), reason=reason)
        level = WarningLevel.of_usage((self.now - span.begin).total_seconds(), (span.end - span.begin).total_seconds())
        return Result(True, level, {"expires": span.end}, changes_at=span.end)
