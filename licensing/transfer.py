"""Licenses that were bought under a number of their own move to the customer's permanent licensee."""

from django.db import transaction
from django.db.models.functions import Now

from licensing.errors import IllegalOperation, NotFound
from licensing.locks import hold
from licensing.models import License, Licensee, Transaction


@transaction.atomic
def transfer(target: Licensee, source: Licensee, *, actor: str) -> list[License]:
    """Move all licenses of the source to the target and return them: none if that was done before.

    Sessions that are checked out at the source end; whatever else is kept with a license goes along. Raises
    IllegalOperation, and NotFound if one of the two is gone meanwhile.
    """
    if source.pk == target.pk:
        raise IllegalOperation("A licensee cannot transfer licenses to itself")
    hold(target)
    # In the order of pk: of two transfers in opposite directions one waits for the other. Whoever changes what
    # a licensee holds, or whether it is marked, waits as well.
    licensees = Licensee.objects.select_for_update().order_by("pk").in_bulk([target.pk, source.pk])
    if len(licensees) < 2:
        raise NotFound("Requested licensee does not exist")
    target, source = licensees[target.pk], licensees[source.pk]
    _check(target, source)

    moved = list(source.licenses.select_for_update())
    if moved:
        License.objects.filter(pk__in=[license.pk for license in moved]).update(licensee=target, moved_at=Now())
        source.sessions.all().delete()
        Transaction.note(target, Transaction.Source.AUTO_LICENSES_TRANSFER, moved, actor=actor, source_licensee=source)
    return moved


def _check(target: Licensee, source: Licensee) -> None:
    if source.product_id != target.product_id:
        raise IllegalOperation("Source and target licensee belong to different products")
    if not source.marked_for_transfer:
        raise IllegalOperation("Source licensee is not marked for transfer")
    if not source.active:
        raise IllegalOperation("Source licensee is not active")
    if not target.active:
        raise IllegalOperation("Target licensee is not active")
