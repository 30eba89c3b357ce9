"""Validity periods of licenses for a number of days, weeks, months or years."""

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


def get_start(license: License, now: datetime) -> datetime:
    """Return the start, but not a future one for a new license if the database's clock is ahead of ours."""
    return license.start_date or min(license.created_at, now)


def get_duration(license: License) -> relativedelta:
    unit = f"{(license.time_volume_period or Period.DAY).lower()}s"
    return relativedelta(**{unit: license.time_volume or 0})  # type: ignore[arg-type]


def add_duration(begin: datetime, length: relativedelta) -> datetime:
    try:
        return begin + length
    except (OverflowError, ValueError):
        return FOREVER


def merge_spans(licenses: Iterable[License], now: datetime) -> list[Span]:
    """Return the time spans that the licenses cover. A license that starts within a span extends it by its full term.

    Transferred licenses come after those already there, so they add their full term, however long ago they
    started. An end is computed from the start of its span, so months from the 31st end on the 31st if possible.
    """
    begins = [(get_start(license, now), license) for license in licenses]
    found: list[Span] = []
    for begin, license in sorted(begins, key=lambda each: (max(each[0], each[1].moved_at or each[0]), each[1].pk)):
        length = get_duration(license)
        if found and begin <= found[-1].end:
            begin, length = found[-1].begin, found[-1].length + length
            found.pop()
        found.append(Span(begin, length, add_duration(begin, length)))
    return found


def find_span(now: datetime, licenses: Iterable[License]) -> Span | None:
    return next((span for span in merge_spans(licenses, now) if span.begin <= now < span.end), None)


def explain_gap(now: datetime, licenses: Iterable[License]) -> str:
    """Explain why no license is valid now; empty if there are none."""
    found = merge_spans(licenses, now)
    begins = [span.begin for span in found if span.begin > now]
    ends = [span.end for span in found if span.end <= now]
    if begins:
        return f"The licenses start on {min(begins):%Y-%m-%d %H:%M} UTC."
    return f"The licenses expired on {max(ends):%Y-%m-%d %H:%M} UTC." if ends else ""


def next_start(now: datetime, licenses: Iterable[License]) -> datetime | None:
    return next((span.begin for span in merge_spans(licenses, now) if span.begin > now), None)


class SubscriptionRules(Rules):
    """Valid for a time, which each further license extends."""

    def judge(self) -> ModuleResult:
        licenses = self.active_licenses(LicenseType.TIMEVOLUME)
        span = find_span(self.now, licenses)
        if span is None:
            reason = explain_gap(self.now, licenses) or self.explain_missing(LicenseType.TIMEVOLUME)
            return ModuleResult(False, WarningLevel.RED, changes_at=next_start(self.now, licenses), reason=reason)
        level = WarningLevel.from_usage(
            (self.now - span.begin).total_seconds(), (span.end - span.begin).total_seconds()
        )
        return ModuleResult(True, level, {"expires": span.end}, changes_at=span.end)


class RentalRules(Rules):
    """Features that are each valid for a time. Time volumes name the FEATURE license that they extend."""

    def judge(self) -> ModuleResult:
        features = [self._feature(license.number) for license in self.active_licenses(LicenseType.FEATURE)]
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
        features = {license.number for license in self.active_licenses(LicenseType.FEATURE)}
        if not features:
            return self.explain_missing(LicenseType.FEATURE)
        times = [
            license for license in self.active_licenses(LicenseType.TIMEVOLUME) if license.parent_feature in features
        ]
        return explain_gap(self.now, times) or "The licensee has no time volume for an active feature of this module."

    def _feature(self, number: str) -> tuple[str, WarningLevel, datetime | None, datetime | None]:
        """Return the number, the warning level, the end if it's valid now, and when that changes."""
        licenses = [
            license for license in self.active_licenses(LicenseType.TIMEVOLUME) if license.parent_feature == number
        ]
        span = find_span(self.now, licenses)
        if span is None:
            return number, WarningLevel.RED, None, next_start(self.now, licenses)
        return number, self._level(span.end), span.end, span.end

    def _level(self, end: datetime) -> WarningLevel:
        rest = end - self.now
        if rest <= timedelta(days=self.module.red_threshold or 0):
            return WarningLevel.RED
        return WarningLevel.YELLOW if rest <= timedelta(days=self.module.yellow_threshold or 0) else WarningLevel.GREEN


class TryAndBuyRules(Rules):
    """Valid for an evaluation period that starts with the first validation; without limit once purchased."""

    def judge(self) -> ModuleResult:
        if self.active_licenses(LicenseType.FEATURE):
            return ModuleResult(True, WarningLevel.GREEN, {"evaluation": False})
        evaluations = self.active_licenses(LicenseType.TIMEVOLUME)
        if evaluations:
            return self._evaluation(evaluations)
        template = self._template()
        if template is None or self._had_evaluation():
            reason = "Not purchased, and the evaluation license is inactive."
            if not self._had_evaluation():
                reason = "Not purchased, and there is no active template for an evaluation."
            return ModuleResult(False, WarningLevel.RED, {"evaluation": True}, reason=reason)
        first = self._first_evaluation(template)
        return self._evaluation([first], write=lambda: self._begin(first))

    def _template(self) -> LicenseTemplate | None:
        if not (self.module.active and self.product.active):
            return None
        evaluations = (each for each in self.templates if each.active and each.license_type == LicenseType.TIMEVOLUME)
        return next(evaluations, None)

    def _evaluation(self, evaluations: list[License], write: Callable[[], None] | None = None) -> ModuleResult:
        expires = max(add_duration(get_start(license, self.now), get_duration(license)) for license in evaluations)
        valid = self.now < expires
        return ModuleResult(
            valid,
            WarningLevel.YELLOW if valid else WarningLevel.RED,
            {"evaluation": True, "evaluationExpires": expires},
            changes_at=expires,
            write=write,
            reason="" if valid else f"Not purchased, and the evaluation ended on {expires:%Y-%m-%d %H:%M} UTC.",
        )

    def _had_evaluation(self) -> bool:
        """An evaluation that the vendor ended by deactivating its license doesn't restart."""
        return any(license.template.license_type == LicenseType.TIMEVOLUME for license in self.licenses)

    def _first_evaluation(self, template: LicenseTemplate) -> License:
        values = template.terms | {"name": template.name, "start_date": self.now}
        return License(merchant_id=self.module.merchant_id, licensee=self.licensee, template=template, **values)

    def _begin(self, evaluation: License) -> None:
        evaluation.save()
        Transaction.record(self.licensee, Transaction.Source.AUTO_LICENSEE_VALIDATE, [evaluation], actor=self.actor)
