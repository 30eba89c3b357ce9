"""What vendors' software says of single modules when it validates: productModuleNumber0=…&usedQuantity0=…"""

import re
from collections.abc import Mapping

from django.http import QueryDict

from licensing.errors import MalformedRequest

NUMBERED = re.compile(r"(.*\D)(\d+)", re.DOTALL)
MODULE = "productModuleNumber"
MAX_DIGITS = 15


class ModuleParameters:
    """The parameters of one module. They are called by the names that the request has for them: usedQuantity0."""

    def __init__(self, position: str = "", values: Mapping[str, str] | None = None):
        self.position = position
        self.values = values or {}

    def text(self, name: str) -> str:
        return self.values.get(name, "")

    def quantity(self, name: str) -> int | None:
        """A whole number, not below 0; None if it is not given. Raises MalformedRequest for anything else."""
        value = self.text(name).strip()
        if not value:
            return None
        if not re.fullmatch(rf"[0-9]{{1,{MAX_DIGITS}}}", value):
            raise MalformedRequest(
                f"{name}{self.position} is not a whole number from 0, of at most {MAX_DIGITS} digits"
            )
        return int(value)

    def malformed(self, name: str, text: str) -> MalformedRequest:
        return MalformedRequest(f"{name}{self.position} {text}")


def read_parameters(form: QueryDict) -> dict[str, ModuleParameters]:
    """The parameters of each module that the form names, by the module's number."""
    values: dict[str, dict[str, str]] = {}
    for key, value in form.dict().items():
        if match := NUMBERED.fullmatch(key):
            values.setdefault(match[2], {})[match[1]] = str(value)

    modules: dict[str, ModuleParameters] = {}
    for position, named in values.items():
        number = named.pop(MODULE, None)
        if number in modules:
            raise MalformedRequest(f"{MODULE}{position} names a module for the second time")
        if number is not None:
            modules[number] = ModuleParameters(position, named)
    return modules
