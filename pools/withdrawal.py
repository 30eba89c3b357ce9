"""Keys taken out of the stock: one, some, the rest of a batch, or a batch as if it had never come."""

from django.db import transaction
from django.db.models.functions import Now

from pools.allocation import fill_reserve
from pools.ledger import moved_by
from pools.models import KeyBatch, LicenseKey, LicenseKeyQuerySet, LicensePool
from pools.replenishment import check_stock
from work.refusals import Refused


class WithdrawalRefused(Refused):
    code = "withdrawal_refused"


def undo(batch: KeyBatch, *, actor: str) -> None:
    """Take a batch back as if it had never come. Raises WithdrawalRefused once a key of it was issued or withdrawn."""
    with moved_by(actor):
        # Serializes with imports and with whoever else undoes it.
        pool = LicensePool.objects.select_for_update(no_key=True).get(pk=batch.pool_id)
        if not KeyBatch.objects.filter(pk=batch.pk, undone_at=None).update(undone_at=Now(), undone_by=actor):
            raise WithdrawalRefused("This import was undone already.")
        # A payment that holds one of the keys is waited for, and then it is issued.
        gone, _ = batch.keys.in_stock().delete()
        if gone != batch.key_count:
            raise WithdrawalRefused(
                f"{batch.key_count - gone:,} of its keys were issued or withdrawn, so it cannot be undone."
                " You can withdraw the rest."
            )
        _look_after(pool)


def withdraw_rest(batch: KeyBatch, *, actor: str) -> int:
    """Take what is left of a batch out of the stock, for good; return how many keys that were."""
    return withdraw(batch.keys.all(), actor=actor)


def withdraw(keys: LicenseKeyQuerySet, *, actor: str) -> int:
    """Take those of the keys that are in stock out of it, for good; return how many that were."""
    with moved_by(actor):
        pools = list(LicensePool.objects.filter(pk__in=keys.values("pool")))
        count = keys.withdraw()
        for pool in pools:
            _look_after(pool)
    return count


def withdraw_key(key: LicenseKey, *, actor: str) -> None:
    """Take one key out of the stock, for good. Raises WithdrawalRefused if it was issued or withdrawn meanwhile."""
    if not withdraw(LicenseKey.objects.filter(pk=key.pk), actor=actor):
        key.refresh_from_db()
        raise WithdrawalRefused(f"This key is {key.status} already.")


def _look_after(pool: LicensePool) -> None:
    """What there is to do when keys are gone: the reserve may have lost some, and the stock be low."""
    fill_reserve(pool)
    transaction.on_commit(lambda: check_stock(pool), robust=True)
