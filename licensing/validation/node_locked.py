import itertools
import re

from licensing.models import License, LicenseType, ProductModule
from licensing.validation.base import ModuleResult, Rules, WarningLevel

SECRET = re.compile(r"nodeSecret[0-9]+")
MAX_LENGTH = 1000


class NodeLockedRules(Rules):
    """Good on so many computers, which are known by a secret (nodeSecret).

    Secrets are properties of the license, nodeSecret0, nodeSecret1 …, where the vendor's software may put and delete
    them as well; in the mode CLIENT new ones are learned while there is room.
    """

    PARAMETERS = frozenset({"nodeSecret"})

    def judge(self) -> ModuleResult:
        licenses = self.of_type(LicenseType.QUANTITY)
        known = [secret for license in licenses for secret in secrets_of(license).values()]
        total = sum(map(quota_of, licenses))
        secret = self._secret()
        if secret and secret in known:
            return ModuleResult(True, WarningLevel.of_places(len(known), total))
        room = next((license for license in licenses if len(secrets_of(license)) < quota_of(license)), None)
        if (
            secret
            and room
            and len(known) < total
            and self.module.node_secret_mode == ProductModule.NodeSecretMode.CLIENT
        ):
            level = WarningLevel.of_places(len(known) + 1, total)
            return ModuleResult(True, level, write=lambda: learn(room, secret))
        return ModuleResult(False, WarningLevel.of_places(len(known), total), reason=self._reason(secret, total))

    def _reason(self, secret: str, total: int) -> str:
        if not self.of_type(LicenseType.QUANTITY):
            return self.lacking(LicenseType.QUANTITY)
        if not secret:
            return "The program sent no nodeSecret."
        if self.module.node_secret_mode != ProductModule.NodeSecretMode.CLIENT:
            return "The node secret is none of the predefined ones."
        return f"The node secret is unknown, and all places are taken ({total})."

    def _secret(self) -> str:
        secret = self.parameters.text("nodeSecret")
        if len(secret) > MAX_LENGTH:
            raise self.parameters.malformed("nodeSecret", f"is longer than {MAX_LENGTH} characters")
        return secret


def quota_of(license: License) -> int:
    """How many computers it is good for. The format calls that quota, or quantity as other models do."""
    for properties in (license.properties, license.template.properties):
        quota = str(properties.get("quota", "")).strip()
        if re.fullmatch(r"[0-9]{1,9}", quota):
            return int(quota)
    return max(license.quantity or 0, 0)


def secrets_of(license: License) -> dict[str, str]:
    return {name: value for name, value in license.properties.items() if SECRET.fullmatch(name)}


def learn(license: License, secret: str) -> None:
    names = (f"nodeSecret{number}" for number in itertools.count())
    license.properties[next(name for name in names if name not in license.properties)] = secret
    license.save(update_fields=["properties"])
