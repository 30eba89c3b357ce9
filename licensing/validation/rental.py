from datetime import datetime, timedelta

from licensing.models import LicenseType
from licensing.validation.base import Result, Rules, WarningLevel
from licensing.validation.time_volumes import next_begin, span_at, why_not


class Rental(Rules):
    """Features, each of them good for a time: licenses of time name the license of the feature that they prolong."""

    def judge(self) -> Result:
        features = [self._feature(license.number) for license in self.of_type(LicenseType.FEATURE)]
        levels = [level for _, level, _, _ in features]
        changes = [moment for _, _, _, moment in features if moment]
        return Result(
            any(expires for _, _, expires, _ in features),
            max(levels, default=WarningLevel.RED),
            lists=[
                (number, {"valid": bool(expires), "expires": expires, "expirationWarningLevel": str(level).lower()})
                for number, level, expires, _ in features
            ],
            changes_at=min(changes, default=None),
            reason="" if any(expires for _, _, expires, _ in features) else self._reason(),
        )

    def _reason(self) -> str:
        features = {license.number for license in self.of_type(LicenseType.FEATURE)}
        if not features:
            return self.lacking(LicenseType.FEATURE)
        times = [license for license in self.of_type(LicenseType.TIMEVOLUME) if license.parent_feature in features]
        return why_not(self.now, times) or "No time volume is for an active feature of this module."

    def _feature(self, number: str) -> tuple[str, WarningLevel, datetime | None, datetime | None]:
        """With how near its end is, when it expires if it is valid, and when that changes."""
        licenses = [license for license in self.of_type(LicenseType.TIMEVOLUME) if license.parent_feature == number]
        span = span_at(self.now, licenses)
        if span is None:
            return number, WarningLevel.RED, None, next_begin(self.now, licenses)
        return number, self._level(span.end), span.end, span.end

    def _level(self, end: datetime) -> WarningLevel:
        rest = end - self.now
        if rest <= timedelta(days=self.module.red_threshold or 0):
            return WarningLevel.RED
        return WarningLevel.YELLOW if rest <= timedelta(days=self.module.yellow_threshold or 0) else WarningLevel.GREEN
