from collections.abc import Callable

from licensing.models import License, LicenseTemplate, LicenseType, Transaction
from licensing.validation.base import Result, Rules, WarningLevel
from licensing.validation.time_volumes import begin_of, end_after, length_of


class TryAndBuy(Rules):
    """Good for a time to try it, and without end once it is bought. The time begins with the first validation."""

    def judge(self) -> Result:
        if self.of_type(LicenseType.FEATURE):
            return Result(True, WarningLevel.GREEN, {"evaluation": False})
        evaluations = self.of_type(LicenseType.TIMEVOLUME)
        if evaluations:
            return self._evaluation(evaluations)
        template = self._template()
        if template is None or self._had_one():
            reason = "It was not bought, and its evaluation license is inactive."
            if not self._had_one():
                reason = "It was not bought, and there is no active template to try it."
            return Result(False, WarningLevel.RED, {"evaluation": True}, reason=reason)
        first = self._first(template)
        return self._evaluation([first], write=lambda: self._begin(first))

    def _template(self) -> LicenseTemplate | None:
        if not (self.module.active and self.product.active):
            return None
        kinds = (one for one in self.templates if one.active and one.license_type == LicenseType.TIMEVOLUME)
        return next(kinds, None)

    def _evaluation(self, evaluations: list[License], write: Callable[[], None] | None = None) -> Result:
        expires = max(end_after(begin_of(license, self.now), length_of(license)) for license in evaluations)
        valid = self.now < expires
        return Result(
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
        return License(
            merchant_id=self.module.merchant_id,
            licensee=self.licensee,
            template=template,
            name=template.name,
            start_date=self.now,
            **template.terms,
        )

    def _begin(self, evaluation: License) -> None:
        evaluation.save()
        Transaction.note(self.licensee, Transaction.Source.AUTO_LICENSEE_VALIDATE, [evaluation], by=self.by)
