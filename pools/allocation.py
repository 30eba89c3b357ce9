from django.db import connection, transaction

from orders.models import OrderItem
from pools.ledger import moved_by
from pools.models import LicenseKey, LicenseKeyQuerySet, LicensePool
from pools.replenishment import check_stock, rearm
from pools.signals import pool_refilled

# Advance the head hint once this many keys behind it have been passed.
HINT_STEP = 300


def allocate_keys(
    pool: LicensePool, item: OrderItem, units: list[int], *, from_reserve: bool = False
) -> dict[int, LicenseKey]:
    """Issue the pool's oldest available keys to these units of an item; fewer if the pool runs out.

    Call it in a transaction that holds the order's lock, and save the codes in the same transaction. Only people may
    issue keys from the reserve.
    """
    stock = pool.keys.reserved() if from_reserve else pool.keys.available().filter(position__gte=pool.head_hint)
    # SKIP LOCKED: concurrent payments take different keys instead of waiting for each other. So too few keys don't
    # prove that the pool is empty: a transaction that holds keys may roll back. The sweep tries again.
    keys = list(stock.order_by("position").select_for_update(skip_locked=True)[: len(units)])
    issued = dict(zip(units, keys, strict=False))

    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE pools_licensekey"
            " SET item_id = %s, unit = issued.unit, issued_at = statement_timestamp(), reserved = false"
            " FROM unnest(%s::bigint[], %s::integer[]) AS issued (key, unit) WHERE id = issued.key",
            [item.pk, [key.pk for key in keys], list(issued)],
        )

    transaction.on_commit(lambda: check_stock(pool), robust=True)
    if keys and not from_reserve and keys[-1].position - pool.head_hint > HINT_STEP:
        transaction.on_commit(lambda: advance_head_hint(pool), robust=True)
    return issued


@transaction.atomic
def advance_head_hint(pool: LicensePool) -> None:
    """Move the hint up to the first available key.

    A hint that is too low costs time; one that is too high loses keys. So moving the hint or adding keys requires the
    pool's lock. New keys get positions at or above the hint, because positions only grow. Returning a key must lower
    the hint. The query for the first available key follows the lock in a separate statement, so it sees what the
    previous holder of the lock committed.
    """
    locked = LicensePool.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=pool.pk).first()
    if locked is None:
        return  # another transaction holds the lock

    first = locked.keys.available().filter(position__gte=locked.head_hint).order_by("position").first()
    locked.head_hint = first.position if first else locked.next_position
    locked.save(update_fields=["head_hint"])


def apply_settings(pool: LicensePool, changed: list[str], *, actor: str) -> None:
    if "threshold" in changed:
        rearm(pool)
    if "reserve" in changed:
        with moved_by(actor):
            fill_reserve(pool)


@transaction.atomic
def fill_reserve(pool: LicensePool) -> None:
    """Reserve the newest available keys until the reserve has its size, or release the surplus."""
    # Serializes changes of the hint and of the reserve.
    locked = LicensePool.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=pool.pk).first()
    if locked is None:
        return  # an import holds the lock and fills the reserve when it is done
    pool = locked
    shortfall = pool.reserve - pool.keys.reserved().count()
    if shortfall > 0:
        newest = pool.keys.available().filter(position__gte=pool.head_hint).order_by("-position")
        _set_reserved(newest, shortfall, reserved=True)
        transaction.on_commit(lambda: check_stock(pool), robust=True)
    elif shortfall < 0:
        oldest = pool.keys.reserved().order_by("position")
        first = oldest.values_list("position", flat=True)[0]
        _set_reserved(oldest, -shortfall, reserved=False)
        _make_available(pool, first)


def _set_reserved(keys: LicenseKeyQuerySet, count: int, *, reserved: bool) -> None:
    """Reserve or release up to `count` of these keys, skipping any that are being issued right now."""
    chosen = keys.select_for_update(skip_locked=True).values("pk")[:count].query
    sql, parameters = chosen.sql_with_params()
    with connection.cursor() as cursor:
        # Loads no keys, because there may be a million. ARRAY makes PostgreSQL run the locking subquery once.
        cursor.execute(
            f"UPDATE pools_licensekey SET reserved = %s WHERE id = ANY(ARRAY({sql}))",  # noqa: S608 (from the ORM)
            [reserved, *parameters],
        )


@transaction.atomic
def return_key(key: LicenseKey) -> None:
    """Return a key that nobody has seen to the stock, at its old position."""
    pool = LicensePool.objects.select_for_update(no_key=True).get(pk=key.pool_id)
    LicenseKey.objects.filter(pk=key.pk).update(
        item=None, unit=None, issued_at=None, withdrawn_at=None, withdrawn_because=LicenseKey.WithdrawalReason.MERCHANT
    )
    _make_available(pool, key.position)


def _make_available(pool: LicensePool, first: int) -> None:
    """Lower the hint so that keys from this position on are found. The caller holds the pool's lock."""
    pool.head_hint = min(pool.head_hint, first)
    pool.save(update_fields=["head_hint"])
    rearm(pool)
    pool_refilled.send(LicensePool, pool=pool)
