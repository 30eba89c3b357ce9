"""Test pools: each pool has one, whose keys are issued to test orders instead of its own.

Until keys are imported into it, codes for test orders are generated (fulfillment/sources/base.py).
"""

from collections import Counter

from django.db import transaction
from django.db.models import F

from merchants.models import Merchant
from pools.models import KeyBatch, LicenseKey, LicenseKeyQuerySet, LicensePool

# Keys that are deleted in one transaction.
BATCH_SIZE = 2000


def add_test_pools(merchant: Merchant) -> None:
    """If the merchant is a sandbox, give each pool of the live merchant its test pool. Calls at once are safe."""
    if not merchant.is_test:
        return
    LicensePool.objects.bulk_create(
        (
            LicensePool(merchant=merchant, live=pool, name=pool.name, threshold=0)
            for pool in LicensePool.objects.filter(merchant=merchant.live_id, test_pool=None)
        ),
        ignore_conflicts=True,
    )


@transaction.atomic
def delete_test_keys(keys: LicenseKeyQuerySet, *, at_most: int | None = BATCH_SIZE) -> int:
    """Delete test keys, wherever they are, as if they had never been imported. Return their number.

    Their batches count them no longer, so that totals stay right. The ledger records that they left.
    """
    # Serializes with payments, which skip these keys. Never touches keys of live pools.
    locked = keys.filter(pool__live__isnull=False).select_for_update(of=("self",))
    rows = list(locked.order_by("pk").values_list("pk", "batch")[:at_most])
    for batch, count in Counter(batch for _, batch in rows).items():
        KeyBatch.objects.filter(pk=batch).update(key_count=F("key_count") - count)
    LicenseKey.objects.filter(pk__in=[pk for pk, _ in rows]).delete()
    return len(rows)


@transaction.atomic
def reset_test_pools(sandbox: Merchant) -> None:
    """Make test pools without keys like new ones, so that codes are generated again."""
    # Serializes with imports.
    pools = LicensePool.objects.filter(merchant=sandbox, live__isnull=False).select_for_update(no_key=True)
    empty = [pool.pk for pool in pools.order_by("pk") if not pool.keys.exists()]
    LicensePool.objects.filter(pk__in=empty).update(next_position=0, head_hint=0, notified=LicensePool.Notice.NONE)
