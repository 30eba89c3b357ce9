from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from django.db import connection, transaction

from orders.models import OrderItem
from pools.ledger import moved_by
from pools.models import LicenseKey, LicenseKeyQuerySet, LicensePool
from pools.replenishment import check_stock_after_commit, rearm
from pools.signals import pool_refilled
from work import sql

# Advance the head hint once this many keys behind it have been passed.
HINT_STEP = 300


# Gives each wanted unit a key of its pool, the oldest keys first. Units are served in the given order.
#
# - The pool's hint and the keys come from one snapshot, so the search never starts behind an available key.
# - SKIP LOCKED: concurrent payments take different keys instead of waiting for each other. So too few keys don't prove
#   that the pool is empty: a transaction that holds keys may roll back. The sweep tries again.
# - MATERIALIZED: the locking subquery runs once.
# - `place` numbers the units of all pools, because PostgreSQL joins by one column in linear time. It underestimates
#   the number of units, and by pool and place it would compare each with each.
# - `lead` is the distance of a key from the hint.
TAKE = """
    WITH wanted AS (
        SELECT pool, merchant, item, unit, row_number() OVER (ORDER BY pool, merchant, turn) AS place
        FROM json_to_recordset(%(wanted)s::json)
            AS wanted (pool bigint, merchant bigint, item bigint, unit integer, turn integer)
    ), demand AS (
        SELECT pool, merchant, count(*), min(place) AS first_place FROM wanted GROUP BY pool, merchant
    ), locked AS MATERIALIZED (
        SELECT key.id, key.position - pool.head_hint AS lead, pool.id AS pool, demand.first_place
        FROM demand JOIN pools_licensepool pool ON pool.id = demand.pool AND pool.merchant_id = demand.merchant
        CROSS JOIN LATERAL (
            SELECT id, position FROM pools_licensekey
            WHERE pool_id = pool.id AND {stock}
            ORDER BY position LIMIT demand.count FOR UPDATE SKIP LOCKED
        ) AS key
    ), taken AS (
        SELECT id, lead, first_place - 1 + row_number() OVER (PARTITION BY pool ORDER BY lead) AS place FROM locked
    )
    UPDATE pools_licensekey AS key
    SET item_id = wanted.item, unit = wanted.unit, issued_at = statement_timestamp(), reserved = false
    FROM taken JOIN wanted USING (place)
    WHERE key.id = taken.id
    RETURNING key.id, key.pool_id, key.position, key.item_id, key.unit, key.code, key.fingerprint, taken.lead
"""
TAKE_AVAILABLE = TAKE.format(
    stock="item_id IS NULL AND withdrawn_at IS NULL AND NOT reserved AND position >= pool.head_hint"
)
TAKE_RESERVED = TAKE.format(stock="item_id IS NULL AND withdrawn_at IS NULL AND reserved")

Place = tuple[int, int]  # the primary keys of a pool and of the merchant of the order, who has to own it
Unit = tuple[int, int]  # an item's primary key, and a number from 1


class TakenKey(NamedTuple):
    """A key that was issued: the fields that are used, because a thousand model instances take long to create."""

    pk: int
    position: int
    code: str


def take_keys(wanted: Mapping[Place, Sequence[Unit]], *, from_reserve: bool = False) -> dict[Unit, TakenKey]:
    """Issue the oldest available keys of pools to units of items; fewer if a pool runs out.

    `wanted` has the units by pool, in the order in which they are served. Call this in a transaction that holds the
    orders' locks, and save the codes in the same transaction. Only people may issue keys from the reserve.
    """
    units = [
        {"pool": pool, "merchant": merchant, "item": item, "unit": unit, "turn": turn}
        for (pool, merchant), units in wanted.items()
        for turn, (item, unit) in enumerate(units)
    ]
    if not units:
        return {}
    rows = sql.run(TAKE_RESERVED if from_reserve else TAKE_AVAILABLE, wanted=units)

    for pool in {row.pool_id for row in rows if row.lead > HINT_STEP and not from_reserve}:
        transaction.on_commit(partial(advance_head_hint, LicensePool(pk=pool)), robust=True)
    check_stock_after_commit({pool for pool, _ in wanted})
    column = LicenseKey._meta.get_field("code")
    return {
        (row.item_id, row.unit): TakenKey(
            row.id, row.position, column.open(row.code, column.place((row.pool_id, row.fingerprint)))
        )
        for row in rows
    }


def allocate_keys(
    pool: LicensePool, item: OrderItem, units: list[int], *, from_reserve: bool = False
) -> dict[int, TakenKey]:
    """Issue keys of one pool to units of one item, as `take_keys` does."""
    keys = take_keys(
        {(pool.pk, item.order.merchant_id): [(item.pk, unit) for unit in units]}, from_reserve=from_reserve
    )
    return {unit: key for (_, unit), key in keys.items()}


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
    if "name" in changed:
        LicensePool.objects.filter(live=pool).update(name=pool.name)
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
        check_stock_after_commit([pool.pk])
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
