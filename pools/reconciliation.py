"""Proves for each pool that no license was lost or issued twice. Merchants can read the result."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.contrib.humanize.templatetags.humanize import intcomma
from django.db import connection
from django.utils.translation import gettext

from merchants.models import Merchant
from pools.models import LicensePool

# A single statement sees one snapshot, even while keys are being sold.
QUERY = """
SELECT pool.id, pool.name, coalesce(batches.imported, 0), coalesce(keys.available, 0), coalesce(keys.reserved, 0),
    coalesce(keys.issued, 0), coalesce(keys.withdrawn, 0), coalesce(keys.replaced, 0), coalesce(keys.refunded, 0),
    coalesce(ledger.available, 0), coalesce(ledger.reserved, 0), coalesce(ledger.issued, 0),
    coalesce(ledger.withdrawn, 0), coalesce(numbers.available, 0), coalesce(numbers.reserved, 0),
    coalesce(numbers.issued, 0), coalesce(numbers.withdrawn, 0), coalesce(strays.count, 0)
FROM pools_licensepool pool
LEFT JOIN (
    SELECT pool_id, sum(key_count) AS imported FROM pools_keybatch WHERE undone_at IS NULL GROUP BY pool_id
) batches ON batches.pool_id = pool.id
LEFT JOIN (
    SELECT pool_id,
        count(*) FILTER (WHERE withdrawn_at IS NULL AND item_id IS NULL AND NOT reserved) AS available,
        count(*) FILTER (WHERE withdrawn_at IS NULL AND item_id IS NULL AND reserved) AS reserved,
        count(*) FILTER (WHERE withdrawn_at IS NULL AND item_id IS NOT NULL) AS issued,
        count(*) FILTER (WHERE withdrawn_at IS NOT NULL) AS withdrawn,
        count(*) FILTER (WHERE withdrawn_because = 'replaced') AS replaced,
        count(*) FILTER (WHERE withdrawn_because = 'refunded') AS refunded
    FROM pools_licensekey WHERE pool_id = ANY(%(pools)s) GROUP BY pool_id
) keys ON keys.pool_id = pool.id
LEFT JOIN (
    SELECT pool_id,
        sum(CASE 'available' WHEN destination THEN count WHEN origin THEN -count END) AS available,
        sum(CASE 'reserved' WHEN destination THEN count WHEN origin THEN -count END) AS reserved,
        sum(CASE 'issued' WHEN destination THEN count WHEN origin THEN -count END) AS issued,
        sum(CASE 'withdrawn' WHEN destination THEN count WHEN origin THEN -count END) AS withdrawn
    FROM pools_keymovement WHERE pool_id = ANY(%(pools)s) GROUP BY pool_id
) ledger ON ledger.pool_id = pool.id
LEFT JOIN (
    SELECT pool_id, sum(available) AS available, sum(reserved) AS reserved, sum(issued) AS issued,
        sum(withdrawn) AS withdrawn
    FROM pools_stockchange WHERE pool_id = ANY(%(pools)s) GROUP BY pool_id
) numbers ON numbers.pool_id = pool.id
LEFT JOIN (
    SELECT key.pool_id, count(*)
    FROM pools_licensekey key
    LEFT JOIN orders_activationcode code
        ON code.item_id = key.item_id AND code.unit = key.unit AND code.withdrawn_at IS NULL
    WHERE key.pool_id = ANY(%(pools)s) AND key.item_id IS NOT NULL AND key.withdrawn_at IS NULL
        AND code.fingerprint IS DISTINCT FROM key.fingerprint
    GROUP BY key.pool_id
) strays ON strays.pool_id = pool.id
WHERE pool.id = ANY(%(pools)s)
ORDER BY lower(pool.name), pool.id
"""


@dataclass(frozen=True)
class Places:
    available: int
    reserved: int
    issued: int
    withdrawn: int

    @property
    def sum(self) -> int:
        return self.available + self.reserved + self.issued + self.withdrawn


@dataclass(frozen=True)
class Balance:
    """How many keys entered a pool and where they are now, counted from the keys and from the ledger."""

    pool_id: int
    pool: str
    imported: int
    keys: Places
    replaced: int  # included in withdrawn, like refunded
    refunded: int
    ledger: Places
    shown: Places  # on pages and in the API
    strays: int  # issued keys that are not the activation code of their unit

    @property
    def is_complete(self) -> bool:
        return self.imported == self.keys.sum

    @property
    def problems(self) -> list[str]:
        return list(self._problems())

    def _problems(self) -> Iterator[str]:
        if not self.is_complete:
            yield gettext("Imported keys: {imported}, existing keys: {sum}.").format(
                imported=intcomma(self.imported), sum=intcomma(self.keys.sum)
            )
        if self.keys != self.ledger:
            yield gettext("The ledger doesn’t match the keys.")
        if self.keys != self.shown:
            yield gettext("The numbers on pages don’t match the keys.")
        if self.strays:
            yield gettext("Issued keys that don’t match the activation code of their unit: {strays}.").format(
                strays=intcomma(self.strays)
            )


def balance(merchant: Merchant | None = None) -> list[Balance]:
    """Balance the merchant's pools, or all pools, by name. Reads every key and movement, 1–2 million per second."""
    chosen = merchant.pools.all() if merchant else LicensePool.objects.all()
    pools = list(chosen.values_list("pk", flat=True))
    with connection.cursor() as cursor:
        cursor.execute(QUERY, {"pools": pools})
        return [
            Balance(*row[:3], Places(*row[3:7]), *row[7:9], Places(*row[9:13]), Places(*row[13:17]), row[17])  # type: ignore[call-arg]
            for row in cursor.fetchall()
        ]
