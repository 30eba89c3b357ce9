from licensing.envelope import Properties
from licensing.models import LicenseType
from licensing.validation.base import ModuleResult, Rules, WarningLevel


class MultiFeatureRules(Rules):
    """Features that are licensed individually. Each FEATURE template is one."""

    def judge(self) -> ModuleResult:
        licensed = {license.template_id for license in self.active_licenses(LicenseType.FEATURE)}
        features: list[tuple[str, Properties]] = [
            (template.number, {"valid": template.pk in licensed, "featureName": template.name})
            for template in self.templates
            if template.license_type == LicenseType.FEATURE and (template.active or template.pk in licensed)
        ]
        reason = "" if licensed else self.explain_missing(LicenseType.FEATURE)
        valid = any(feature["valid"] for _, feature in features)
        return ModuleResult(valid, WarningLevel.GREEN, lists=features, reason=reason)
