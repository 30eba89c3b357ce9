"""Withdraws keys from stock: single keys, the rest of a batch, or a whole batch by undoing its import."""

from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models.functions import Now
from django.utils.translation import gettext, ngettext

from pools.allocation import fill_reserve
from pools.ledger import moved_by
from pools.models import KeyBatch, LicenseKey, LicenseKeyQuerySet, LicensePool
from pools.replenishment import check_stock_after_commit
from work.refusals import Refused


class WithdrawalRefused(Refused):
    code = "withdrawal_refused"


def undo(batch: KeyBatch, *, actor: str) -> None:
    """Undo the import of a batch. Raises WithdrawalRefused if a key of it was issued or withdrawn."""
    with moved_by(actor):
        # Serializes with imports, and with another undo of the same batch.
        pool = LicensePool.objects.select_for_update(no_key=True).get(pk=batch.pool_id)
        if not KeyBatch.objects.filter(pk=batch.pk, undone_at=None).update(undone_at=Now(), undone_by=actor):
            raise WithdrawalRefused(gettext("This import has already been undone."))
        # Waits for payments that hold one of the keys; those keys are then issued and not deleted.
        deleted, _ = batch.keys.in_stock().delete()
        if deleted != batch.key_count:
            raise WithdrawalRefused(
                ngettext(
                    "Can’t undo this import: {count} of its keys was issued or withdrawn. Withdraw the rest.",
                    "Can’t undo this import: {count} of its keys were issued or withdrawn. Withdraw the rest.",
                    batch.key_count - deleted,
                ).format(count=intcomma(batch.key_count - deleted))
            )
        _restore_reserve(pool)


def withdraw_rest(batch: KeyBatch, *, actor: str) -> int:
    """Permanently withdraw the keys of a batch that are still in stock; return their number."""
    return withdraw(batch.keys.all(), actor=actor)


def withdraw(keys: LicenseKeyQuerySet, *, actor: str) -> int:
    """Permanently withdraw those of these keys that are in stock; return their number."""
    with moved_by(actor):
        pools = list(LicensePool.objects.filter(pk__in=keys.values("pool")))
        count = keys.withdraw()
        for pool in pools:
            _restore_reserve(pool)
    return count


def withdraw_key(key: LicenseKey, *, actor: str) -> None:
    """Permanently withdraw a key. Raises WithdrawalRefused if it has been issued or withdrawn."""
    if not withdraw(LicenseKey.objects.filter(pk=key.pk), actor=actor):
        key.refresh_from_db()
        raise WithdrawalRefused(gettext("This key is already {status}.").format(status=gettext(key.status)))


def _restore_reserve(pool: LicensePool) -> None:
    """Top up the reserve, which may have lost keys, and then check whether the stock is low."""
    fill_reserve(pool)
    check_stock_after_commit([pool.pk])


def describe_withdrawal(count: int) -> str:
    return ngettext(
        "{count} key withdrawn. It will never be issued.",
        "{count} keys withdrawn. They will never be issued.",
        count,
    ).format(count=intcomma(count))
