"""From when until when licenses of so many days, weeks, months or years are good."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dateutil.relativedelta import relativedelta

from licensing.models import License, LicenseTemplate, LicenseType, Transaction
from licensing.models.catalog import Period
from licensing.validation.base import ModuleResult, Rules, WarningLevel

FOREVER = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass
class Span:
    begin: datetime
    length: relativedelta
    end: datetime


def begin_of(license: License, now: datetime) -> datetime:
    """When it is good from; one that was made just now is, also while the database's clock is ahead of ours."""
    return license.start_date or min(license.created_at, now)


def length_of(license: License) -> relativedelta:
    unit = f"{(license.time_volume_period or Period.DAY).lower()}s"
    return relativedelta(**{unit: license.time_volume or 0})  # type: ignore[arg-type]


def end_after(begin: datetime, length: relativedelta) -> datetime:
    try:
        return begin + length
    except (OverflowError, ValueError):
        return FOREVER


def spans(licenses: Iterable[License], now: datetime) -> list[Span]:
    """The licenses' time, one after another: what begins before the end of those before it prolongs them.

    Those that were transferred come after what was there, so they add their whole time to it, however long ago they
    began. A span's end is counted from its beginning, so months from the 31st end on the 31st wherever there is one.
    """
    begins = [(begin_of(license, now), license) for license in licenses]
    found: list[Span] = []
    for begin, license in sorted(begins, key=lambda each: (max(each[0], each[1].moved_at or each[0]), each[1].pk)):
        length = length_of(license)
        if found and begin <= found[-1].end:
            begin, length = found[-1].begin, found[-1].length + length
            found.pop()
        found.append(Span(begin, length, end_after(begin, length)))
    return found


def span_at(now: datetime, licenses: Iterable[License]) -> Span | None:
    return next((span for span in spans(licenses, now) if span.begin <= now < span.end), None)


def why_not(now: datetime, licenses: Iterable[License]) -> str:
    """Why none of the licenses is good now: empty if there are none."""
    found = spans(licenses, now)
    begins = [span.begin for span in found if span.begin > now]
    ends = [span.end for span in found if span.end <= now]
    if begins:
        return f"The time begins on {min(begins):%Y-%m-%d %H:%M} UTC."
    return f"The time ended on {max(ends):%Y-%m-%d %H:%M} UTC." if ends else ""


def next_begin(now: datetime, licenses: Iterable[License]) -> datetime | None:
    return next((span.begin for span in spans(licenses, now) if span.begin > now), None)


class SubscriptionRules(Rules):
    """Good for a time, which each further license prolongs."""

    def judge(self) -> ModuleResult:
        licenses = self.of_type(LicenseType.TIMEVOLUME)
        span = span_at(self.now, licenses)
        if span is None:
            reason = why_not(self.now, licenses) or self.lacking(LicenseType.TIMEVOLUME)
            return ModuleResult(False, WarningLevel.RED, changes_at=next_begin(self.now, licenses), reason=reason)
        level = WarningLevel.of_usage((self.now - span.begin).total_seconds(), (span.end - span.begin).total_seconds())
        return ModuleResult(True, level, {"expires": span.end}, changes_at=span.end)


class RentalRules(Rules):
    """Features, each of them good for a time: licenses of time name the license of the feature that they prolong."""

    def judge(self) -> ModuleResult:
        features = [self._feature(license.number) for license in self.of_type(LicenseType.FEATURE)]
        levels = [level for _, level, _, _ in features]
        changes = [moment for _, _, _, moment in features if moment]
        return ModuleResult(
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


class TryAndBuyRules(Rules):
    """Good for a time to try it, and without end once it is bought. The time begins with the first validation."""

    def judge(self) -> ModuleResult:
        if self.of_type(LicenseType.FEATURE):
            return ModuleResult(True, WarningLevel.GREEN, {"evaluation": False})
        evaluations = self.of_type(LicenseType.TIMEVOLUME)
        if evaluations:
            return self._evaluation(evaluations)
        template = self._template()
        if template is None or self._had_one():
            reason = "It was not bought, and its evaluation license is inactive."
            if not self._had_one():
                reason = "It was not bought, and there is no active template to try it."
            return ModuleResult(False, WarningLevel.RED, {"evaluation": True}, reason=reason)
        first = self._first(template)
        return self._evaluation([first], write=lambda: self._begin(first))

    def _template(self) -> LicenseTemplate | None:
        if not (self.module.active and self.product.active):
            return None
        kinds = (one for one in self.templates if one.active and one.license_type == LicenseType.TIMEVOLUME)
        return next(kinds, None)

    def _evaluation(self, evaluations: list[License], write: Callable[[], None] | None = None) -> ModuleResult:
        expires = max(end_after(begin_of(license, self.now), length_of(license)) for license in evaluations)
        valid = self.now < expires
        return ModuleResult(
            valid,
            WarningLevel.YELLOW if valid else WarningLevel.RED,
            {"evaluation": True, "evaluationExpires": expires},
            changes_at=expires,
            write=write,
            reason="" if valid else f"It was not bought, and the evaluation ended on {expires:%Y-%m-%d %H:%M} UTC.",
        )

    def _had_one(self) -> bool:
        """An evaluation that the vendor ended by making its license inactive does not begin again."""
        return any(license.template.license_type == LicenseType.TIMEVOLUME for license in self.licenses)

    def _first(self, template: LicenseTemplate) -> License:
        values = template.terms | {"name": template.name, "start_date": self.now}
        return License(merchant_id=self.module.merchant_id, licensee=self.licensee, template=template, **values)

    def _begin(self, evaluation: License) -> None:
        evaluation.save()
        Transaction.note(self.licensee, Transaction.Source.AUTO_LICENSEE_VALIDATE, [evaluation], actor=self.actor)
