import itertools
import re

from licensing.models import License, LicenseType, ProductModule
from licensing.validation.base import ModuleResult, Rules, WarningLevel

SECRET = re.compile(r"nodeSecret[0-9]+")
MAX_LENGTH = 1000


class NodeLockedRules(Rules):
    """A limited number of computers, each identified by a nodeSecret.

    Secrets are stored as license properties (nodeSecret0, nodeSecret1, …), which the vendor's software can edit, too.
    In CLIENT mode, validations add new secrets while there are free seats.
    """

    PARAMETERS = frozenset({"nodeSecret"})

    def judge(self) -> ModuleResult:
        licenses = self.active_licenses(LicenseType.QUANTITY)
        known = [secret for license in licenses for secret in read_secrets(license).values()]
        total = sum(map(read_quota, licenses))
        secret = self._secret()
        if secret and secret in known:
            return ModuleResult(True, WarningLevel.from_seats(len(known), total))
        open_license = next(
            (license for license in licenses if len(read_secrets(license)) < read_quota(license)), None
        )
        if (
            secret
            and open_license
            and len(known) < total
            and self.module.node_secret_mode == ProductModule.NodeSecretMode.CLIENT
        ):
            level = WarningLevel.from_seats(len(known) + 1, total)
            return ModuleResult(True, level, write=lambda: add_secret(open_license, secret))
        return ModuleResult(False, WarningLevel.from_seats(len(known), total), reason=self._reason(secret, total))

    def _reason(self, secret: str, total: int) -> str:
        if not self.active_licenses(LicenseType.QUANTITY):
            return self.explain_missing(LicenseType.QUANTITY)
        if not secret:
            return "The software sent no nodeSecret."
        if self.module.node_secret_mode != ProductModule.NodeSecretMode.CLIENT:
            return "The node secret isn't one of the predefined ones."
        return f"The node secret is unknown, and no seat is free: {total} of {total} are taken."

    def _secret(self) -> str:
        secret = self.parameters.text("nodeSecret")
        if len(secret) > MAX_LENGTH:
            raise self.parameters.malformed("nodeSecret", f"is longer than {MAX_LENGTH} characters")
        return secret


def read_quota(license: License) -> int:
    """The number of computers. Clients send it as quota, or as quantity like in other models."""
    for properties in (license.properties, license.template.properties):
        quota = str(properties.get("quota", "")).strip()
        if re.fullmatch(r"[0-9]{1,9}", quota):
            return int(quota)
    return max(license.quantity or 0, 0)


def read_secrets(license: License) -> dict[str, str]:
    return {name: value for name, value in license.properties.items() if SECRET.fullmatch(name)}


def add_secret(license: License, secret: str) -> None:
    names = (f"nodeSecret{number}" for number in itertools.count())
    license.properties[next(name for name in names if name not in license.properties)] = secret
    license.save(update_fields=["properties"])
