"""Changes that people make to licensees and licenses in the portal. Each change is recorded in the history."""

from typing import Any

from django.db import transaction

from licensing.creation import create_license, find_feature, needs_feature
from licensing.locks import block_deletion, lock_to_delete
from licensing.models import License, Licensee, LicenseeEvent, LicenseTemplate, LicensingProduct, ProductModule

Kind = LicenseeEvent.Kind


def reveal(licensee: Licensee, *, actor: str) -> str:
    """Return the number in clear. The history records who saw it."""
    _record(licensee, Kind.REVEALED, actor=actor)
    return licensee.number


@transaction.atomic
def rename(licensee: Licensee, name: str, *, actor: str) -> None:
    if Licensee.objects.filter(pk=licensee.pk).exclude(name=name).update(name=name):
        _record(licensee, Kind.RENAMED, actor=actor)


@transaction.atomic
def set_active(licensee: Licensee, active: bool, *, actor: str) -> bool:
    """Return whether this changed anything."""
    return _set_flag(licensee, "active", active, licensee, Kind.ACTIVATED if active else Kind.DEACTIVATED, actor=actor)


@transaction.atomic
def set_marked(licensee: Licensee, marked: bool, *, actor: str) -> bool:
    """Allow or forbid transferring its licenses to another licensee. Return whether this changed anything."""
    return _set_flag(
        licensee, "marked_for_transfer", marked, licensee, Kind.MARKED if marked else Kind.UNMARKED, actor=actor
    )


@transaction.atomic
def add_license(licensee: Licensee, template: LicenseTemplate, *, actor: str, **fields: Any) -> License:
    block_deletion(licensee)
    # Serialized with transfers, which lock the same row.
    locked = Licensee.objects.select_for_update().get(pk=licensee.pk)
    return create_license(locked, template, actor=actor, **fields)


@transaction.atomic
def change_license(license: License, *, fields: list[str], actor: str) -> None:
    _lock_holder(license)
    if "parent_feature" in fields and needs_feature(license.template):
        license.parent_feature = find_feature(license.licensee, license.template, license.parent_feature)
    changed = {name: getattr(license, name) for name in fields}
    if changed and License.objects.filter(pk=license.pk).update(**changed):
        _record(license.licensee, Kind.LICENSE_CHANGED, actor=actor, note=license.number)


@transaction.atomic
def set_license_active(license: License, active: bool, *, actor: str) -> bool:
    """Return whether this changed anything."""
    _lock_holder(license)
    kind = Kind.LICENSE_ACTIVATED if active else Kind.LICENSE_DEACTIVATED
    return _set_flag(license, "active", active, license.licensee, kind, actor=actor, note=license.number)


@transaction.atomic
def remove(thing: LicensingProduct | ProductModule | LicenseTemplate) -> None:
    lock_to_delete(thing)
    thing.delete()


def _lock_holder(license: License) -> None:
    # Same order as transfers: the licensee before its licenses. The history row locks the licensee, too.
    Licensee.objects.select_for_update(no_key=True).filter(pk=license.licensee_id).first()


def _set_flag(
    thing: Licensee | License, field: str, value: bool, licensee: Licensee, kind: Kind, **fields: str
) -> bool:
    others = type(thing)._default_manager.filter(**{"pk": thing.pk, field: not value})
    changed = bool(others.update(**{field: value}))
    if changed:
        _record(licensee, kind, **fields)
    return changed


def _record(licensee: Licensee, kind: Kind, *, actor: str, note: str = "") -> None:
    LicenseeEvent.objects.create(licensee=licensee, kind=kind, happened_by=actor, note=note)
