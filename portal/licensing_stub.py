"""Until the real ones are here."""

from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from licensing.errors import IllegalOperation
from licensing.models import Licensee, Transaction


@dataclass
class Result:
    valid: bool
    warning_level: str = "GREEN"
    properties: dict[str, Any] = field(default_factory=dict)
    lists: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@dataclass
class Validation:
    module: Any
    result: Result


def validate(licensee: Licensee, *, dry_run: bool) -> list[Validation]:
    return [
        Validation(
            module, Result(True, "GREEN", {"expires": "2027-01-01"}, [("E1", {"valid": True, "featureName": "Raw"})])
        )
        for module in licensee.product.modules.all()
    ]


@transaction.atomic
def transfer(target: Licensee, source: Licensee, *, by: str):
    if target == source:
        raise IllegalOperation("A licensee cannot transfer licenses to itself")
    if not source.marked_for_transfer:
        raise IllegalOperation("Source licensee is not marked for transfer")
    if target.product_id != source.product_id:
        raise IllegalOperation("Source and target are licensees of different products.")
    moved = list(source.licenses.all())
    source.licenses.update(licensee=target)
    if moved:
        Transaction.note(target, Transaction.Source.AUTO_LICENSES_TRANSFER, moved, by=by, source_licensee=source)
    return moved
