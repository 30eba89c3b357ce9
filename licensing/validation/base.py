import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, ClassVar

from django.http import QueryDict

from licensing.envelope import Info, Item, Properties
from licensing.errors import MalformedRequest
from licensing.models import License, Licensee, LicenseTemplate, LicenseType, LicensingProduct, ProductModule

INDEXED = re.compile(r"(.*\D)(\d+)", re.DOTALL)
MODULE = "productModuleNumber"
MAX_DIGITS = 15


class ModuleParameters:
    """Parameters with the same index ("" if none), or of one module. Error messages use the names as sent."""

    def __init__(self, index: str = "", values: Mapping[str, str] | None = None):
        self.index = index
        self.values = dict(values or {})
        self.sent_as = {name: f"{name}{index}" for name in self.values}

    def text(self, name: str) -> str:
        return self.values.get(name, "")

    def quantity(self, name: str) -> int | None:
        """Return a whole number from 0, or None if it's missing. Raises MalformedRequest."""
        value = self.text(name).strip()
        if not value:
            return None
        if not re.fullmatch(rf"[0-9]{{1,{MAX_DIGITS}}}", value):
            raise self.malformed(name, f"is not a whole number from 0 with at most {MAX_DIGITS} digits")
        return int(value)

    def malformed(self, name: str, text: str) -> MalformedRequest:
        return MalformedRequest(f"{self.sent_as.get(name, f'{name}{self.index}')} {text}")


Parameters = list[ModuleParameters]


def read_parameters(form: QueryDict) -> Parameters:
    groups: dict[str, dict[str, str]] = {}
    for key, value in form.dict().items():
        match = INDEXED.fullmatch(key)
        name, index = match.groups() if match else (key, "")
        groups.setdefault(index, {})[name] = str(value)
    return [ModuleParameters(index, values) for index, values in groups.items()]


def assign(groups: Parameters, known: Mapping[str, frozenset[str]]) -> dict[str, ModuleParameters]:
    """Assign parameters to modules. `known` maps each module's number to the parameter names that it reads.

    A parameter belongs to the module named with the same index. Without an index, it can also belong to another named
    module, or to the only module that reads it. If its index names no module, it belongs to the module named without
    an index. Raises MalformedRequest if several modules match. The result can contain unknown module numbers.
    """
    assigned: dict[str, ModuleParameters] = {}
    for group in groups:
        if number := _module(group):
            if number in assigned:
                raise group.malformed(MODULE, "names the same module twice")
            assigned[number] = ModuleParameters(group.index, group.values)

    named = list(assigned)
    without_index = [_module(group) for group in groups if not group.index]
    for group in groups:
        number = _module(group)
        if number and group.index:
            continue
        for name in sorted(group.values.keys() - known.get(number, frozenset())):
            readers = [number for number, names in known.items() if name in names]
            likely = [number for number in readers if number in (without_index if group.index else named)]
            candidates = likely if likely or group.index else readers
            if len(candidates) > 1:
                raise group.malformed(name, f"applies to several modules; name one with {MODULE}{group.index}")
            for number in candidates:
                _add(assigned.setdefault(number, ModuleParameters(group.index)), group, name)
    return assigned


def _module(group: ModuleParameters) -> str:
    return group.text(MODULE).strip()


def _add(module: ModuleParameters, group: ModuleParameters, name: str) -> None:
    if module.values.get(name, group.values[name]) != group.values[name]:
        raise group.malformed(name, f"contradicts {module.sent_as[name]}")
    module.values[name], module.sent_as[name] = group.values[name], group.sent_as[name]


class WarningLevel(IntEnum):
    """How close the licenses are to running out, worst last."""

    GREEN = 0
    YELLOW = 1
    RED = 2

    def __str__(self):
        return self.name

    @classmethod
    def from_usage(cls, used: float, total: float) -> "WarningLevel":
        """YELLOW from 80 % used, RED at 100 %."""
        if used >= total:
            return cls.RED
        return cls.YELLOW if used >= 0.8 * total else cls.GREEN

    @classmethod
    def from_seats(cls, taken: int, total: int) -> "WarningLevel":
        """Like usage, but never RED below ten seats: small teams often use all their seats."""
        level = cls.from_usage(taken, total)
        return cls.YELLOW if level == cls.RED and 0 < total < 10 else level


@dataclass
class ModuleResult:
    """The validation result of one module.

    `write` saves its effects. Before calling it, lock the licensee and judge its licenses again under that lock.
    """

    valid: bool
    warning_level: WarningLevel
    properties: Properties = field(default_factory=dict)
    lists: list[tuple[str, Properties]] = field(default_factory=list)
    infos: list[Info] = field(default_factory=list)
    changes_at: datetime | None = None  # when the result changes without a request
    write: Callable[[], Any] | None = None
    reason: str = ""  # why it isn't valid, for the vendor; empty if nothing failed


@dataclass
class Validation:
    module: ProductModule
    result: ModuleResult

    @property
    def item(self) -> Item:
        properties = {
            "productModuleNumber": self.module.number,
            "productModuleName": self.module.name,
            "licensingModel": self.module.licensing_model,
            "valid": self.result.valid,
            "warningLevel": self.result.warning_level,
            **self.result.properties,
        }
        return Item("ProductModuleValidation", properties, self.result.lists)


@dataclass
class Rules(ABC):
    """Rules of a licensing model. Licenses and templates are the module's, oldest first, including inactive ones."""

    licensee: Licensee
    product: LicensingProduct
    module: ProductModule
    licenses: list[License]
    templates: list[LicenseTemplate]
    parameters: ModuleParameters
    now: datetime
    actor: str  # recorded in what `write` saves

    PARAMETERS: ClassVar[frozenset[str]] = frozenset()  # names of the parameters it reads

    @abstractmethod
    def judge(self) -> ModuleResult: ...

    def active_licenses(self, license_type: LicenseType) -> list[License]:
        return [
            license for license in self.licenses if license.active and license.template.license_type == license_type
        ]

    def explain_missing(self, license_type: LicenseType) -> str:
        count = sum(license.template.license_type == license_type for license in self.licenses)
        if not count:
            return f"The licensee has no {license_type} license of this module."
        return f"All {license_type} licenses of this module are inactive ({count})."
