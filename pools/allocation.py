from django.db import connection, transaction

from orders.models import OrderItem
from pools.ledger import moved_by
from pools.models import LicenseKey, LicenseKeyQuerySet, LicensePool
from pools.replenishment import check_stock, rearm
from pools.signals import pool_refilled

# How many keys may be issued before the search starts anew behind them.
HINT_STEP = 300


def allocate_keys(
    pool: LicensePool, item: OrderItem, units: list[int], *, from_reserve: bool = False
) -> dict[int, LicenseKey]:
    """Issue to these units of an order item the oldest keys available; fewer if the pool has fewer.

    The caller is in a transaction that holds the order's lock, and saves the codes in it. The reserve is for people to
    issue from.
    """
    stock = pool.keys.reserved() if from_reserve else pool.keys.available().filter(position__gte=pool.head_hint)
    # SKIP LOCKED: payments that race for one pool take different keys instead of waiting in line. So a short answer
    # does not prove an empty pool: a transaction that holds keys may roll back. The sweep looks again.
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

    Too low a hint costs time, too high a one loses keys. So whoever moves it or adds keys holds the pool's lock (new
    keys stand at or behind it: their positions only grow; whoever returns a key must lower it), and the first
    available key is looked for in a statement after the one that locks, so that it sees what the holder before has
    committed.
    """
    locked = LicensePool.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=pool.pk).first()
    if locked is None:
        return  # somebody else is at it

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
    """Keep back as many of the newest available keys as the pool's reserve asks for, or free what is too many."""
    # Serializes with whoever moves the hint, and with who else fills it.
    locked = LicensePool.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=pool.pk).first()
    if locked is None:
        return  # keys are coming in; after them it is filled
    pool = locked
    lacking = pool.reserve - pool.keys.reserved().count()
    if lacking > 0:
        newest = pool.keys.available().filter(position__gte=pool.head_hint).order_by("-position")
        _set_reserved(newest, lacking, reserved=True)
        transaction.on_commit(lambda: check_stock(pool), robust=True)
    elif lacking < 0:
        oldest = pool.keys.reserved().order_by("position")
        first = oldest.values_list("position", flat=True)[0]
        _set_reserved(oldest, -lacking, reserved=False)
        _make_available(pool, first)


def _set_reserved(keys: LicenseKeyQuerySet, count: int, *, reserved: bool) -> None:
    """Put so many of these into the reserve, or free them, less those that somebody is issuing at this moment."""
    chosen = keys.select_for_update(skip_locked=True).values("pk")[:count].query
    sql, parameters = chosen.sql_with_params()
    with connection.cursor() as cursor:
        # They may be a million: none is loaded. As an array they are chosen, and locked, once.
        cursor.execute(
            f"UPDATE pools_licensekey SET reserved = %s WHERE id = ANY(ARRAY({sql}))",  # noqa: S608 (the ORM's)
            [reserved, *parameters],
        )


@transaction.atomic
def return_key(key: LicenseKey) -> None:
    """Put a key that nobody ever saw back into stock, at its place."""
    pool = LicensePool.objects.select_for_update(no_key=True).get(pk=key.pool_id)
    LicenseKey.objects.filter(pk=key.pk).update(
        item=None, unit=None, issued_at=None, withdrawn_at=None, withdrawn_because=LicenseKey.Because.MERCHANT
    )
    _make_available(pool, key.position)


def _make_available(pool: LicensePool, first: int) -> None:
    """Have keys found, from this position on, that were not in the stock. The caller holds the pool's lock."""
    pool.head_hint = min(pool.head_hint, first)
    pool.save(update_fields=["head_hint"])
    rearm(pool)
    pool_refilled.send(LicensePool, pool=pool)
