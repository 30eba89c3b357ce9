"""What the licensing models have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, ClassVar

from licensing.envelope import Info, Item, Properties
from licensing.models import License, Licensee, LicenseTemplate, LicenseType, Product, ProductModule
from licensing.validation.parameters import ModuleParameters


class WarningLevel(IntEnum):
    """How near the licenses are to their end, the worst last."""

    GREEN = 0
    YELLOW = 1
    RED = 2

    def __str__(self):
        return self.name

    @classmethod
    def of_usage(cls, used: float, total: float) -> "WarningLevel":
        """By how much is used up: from 80 % it is YELLOW, at the end RED."""
        if used >= total:
            return cls.RED
        return cls.YELLOW if used >= 0.8 * total else cls.GREEN

    @classmethod
    def of_places(cls, taken: int, total: int) -> "WarningLevel":
        """By how many places are taken. A few may well be taken all the time: below ten that is not RED."""
        level = cls.of_usage(taken, total)
        return cls.YELLOW if level == cls.RED and 0 < total < 10 else level


@dataclass
class Result:
    """How it stands with one module of a licensee.

    Nothing has been written for it: `write` does that. Whoever calls it has locked the licensee before reading the
    licenses that the result tells of.
    """

    valid: bool
    warning_level: WarningLevel
    properties: Properties = field(default_factory=dict)
    lists: list[tuple[str, Properties]] = field(default_factory=list)
    infos: list[Info] = field(default_factory=list)
    changes_at: datetime | None = None  # by itself, with time
    write: Callable[[], Any] | None = None
    reason: str = ""  # why it is not valid, for the vendor; empty if nothing failed


@dataclass
class Validation:
    """A result, and the module that it is of."""

    module: ProductModule
    result: Result

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
    """A licensing model's. `licenses` and `templates` are the module's, oldest first, also those that are inactive."""

    licensee: Licensee
    product: Product
    module: ProductModule
    licenses: list[License]
    templates: list[LicenseTemplate]
    parameters: ModuleParameters
    now: datetime
    by: str  # who validates, for what is written

    PARAMETERS: ClassVar[frozenset[str]] = frozenset()  # of a validation, that it reads

    @abstractmethod
    def judge(self) -> Result: ...

    def of_type(self, license_type: LicenseType) -> list[License]:
        """The active licenses of this type: only they count."""
        return [
            license for license in self.licenses if license.active and license.template.license_type == license_type
        ]

    def lacking(self, license_type: LicenseType) -> str:
        """Why there are no active licenses of this type."""
        count = sum(license.template.license_type == license_type for license in self.licenses)
        if not count:
            return f"The licensee has no {license_type} license of this module."
        return f"All {license_type} licenses of this module are inactive ({count})."
