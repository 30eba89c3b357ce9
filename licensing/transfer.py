"""Moves purchased licenses to the customer's permanent licensee."""

from django.db import transaction
from django.db.models.functions import Now

from licensing.errors import IllegalOperation, NotFound
from licensing.locks import block_deletion
from licensing.models import License, Licensee, Transaction


@transaction.atomic
def transfer(target: Licensee, source: Licensee, *, actor: str) -> list[License]:
    """Move all licenses of the source to the target and return them; empty if they were moved before.

    Ends the floating sessions of the source. Raises IllegalOperation, and NotFound if either licensee was deleted.
    """
    if source.pk == target.pk:
        raise IllegalOperation("A licensee cannot transfer licenses to itself")
    block_deletion(target)
    # Locked in pk order, so that two transfers in opposite directions can't deadlock. Also serializes with changes to
    # the licenses or the mark of either licensee.
    licensees = Licensee.objects.select_for_update().order_by("pk").in_bulk([target.pk, source.pk])
    if len(licensees) < 2:
        raise NotFound("Requested licensee does not exist")
    target, source = licensees[target.pk], licensees[source.pk]
    _check(target, source)

    moved = list(source.licenses.select_for_update())
    if moved:
        License.objects.filter(pk__in=[license.pk for license in moved]).update(licensee=target, moved_at=Now())
        source.sessions.all().delete()
        Transaction.record(
            target, Transaction.Source.AUTO_LICENSES_TRANSFER, moved, actor=actor, source_licensee=source
        )
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
