import itertools
import statistics
import time

from django.db import connection, transaction

from benchmarks.results import record
from merchants.models import CheckoutPage, Merchant, Product
from orders.models import Order, OrderItem
from pools.allocation import advance_head_hint, allocate_keys
from pools.models import KeyBatch, LicensePool
from vault.ciphers import encrypt

SMALL = 10_000
GOAL = "at most 1.5"
KEYS_A_ROUND = 50


def compare(large: int, rounds: int) -> None:
    merchant = Merchant.objects.create(name="Benchmark", slug="benchmark")
    pools = {size: make_pool(merchant, size) for size in (SMALL, large)}
    items = {size: make_item(merchant, str(size)) for size in pools}
    units = itertools.count(large + 1)
    times: dict[tuple[int, str], list[float]] = {}
    for state in ("fresh", "90 % drained"):
        if state != "fresh":
            for size, pool in pools.items():
                drain(pool, items[size])
        measured: dict[int, list[float]] = {size: [] for size in pools}
        for _ in range(rounds):
            for size, pool in pools.items():
                measured[size].append(time_of_a_key(pool, items[size], units))
        times |= {(size, state): seconds for size, seconds in measured.items()}

    fastest = min(times.values(), key=statistics.median)
    for (size, state), seconds in times.items():
        pairs = [(1000 * mine, 1000 * other) for mine, other in zip(seconds, fastest, strict=True)]
        record(
            f"issuing a key: {size:,} keys, {state}",
            pairs,
            unit="ms",
            baseline="the fastest pool",
            goal=GOAL,
            digits=2,
            keys=size,
        )


def make_item(merchant: Merchant, name: str) -> OrderItem:
    page = CheckoutPage.objects.create(merchant=merchant, code=name)
    product = Product.objects.create(merchant=merchant, sku=name, name=name)
    order = Order.objects.create(merchant=merchant, checkout_page=page, number=name)
    return OrderItem.objects.create(order=order, product=product, reference="1", quantity=1, units=1, total_price=0)


def make_pool(merchant: Merchant, size: int) -> LicensePool:
    """Create a pool of keys as long as real ones; their content doesn't matter here."""
    pool = LicensePool.objects.create(merchant=merchant, name=str(size), threshold=0, next_position=size)
    batch = KeyBatch.objects.create(pool=pool, key_count=size, imported_by="benchmark")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO pools_licensekey (pool_id, batch_id, position, code, fingerprint, hint)"
            " SELECT %s, %s, number - 1, %s, decode(md5(number || ' of %s'), 'hex'), right(md5(number::text), 4)"
            " FROM generate_series(1, %s) AS number",
            [pool.pk, batch.pk, encrypt("AAAAA-BBBBB-CCCCC-DDDDD", b"benchmark"), pool.pk, size],
        )
        cursor.execute("ANALYZE pools_licensekey")
    return pool


def drain(pool: LicensePool, item: OrderItem) -> None:
    """Issue nine tenths of the keys, oldest first, one tenth per transaction, without vacuuming."""
    size = pool.next_position
    for start in range(0, size * 9 // 10, size // 10):
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE pools_licensekey SET item_id = %s, unit = position + 1, issued_at = statement_timestamp()"
                " WHERE pool_id = %s AND position >= %s AND position < %s AND item_id IS NULL",
                [item.pk, pool.pk, start, start + size // 10],
            )
        advance_head_hint(pool)


def time_of_a_key(pool: LicensePool, item: OrderItem, units: "itertools.count[int]") -> float:
    """Return the median in seconds over this number of payments, each a transaction."""
    seconds = []
    for _ in range(KEYS_A_ROUND):
        pool.refresh_from_db()
        unit = next(units)
        start = time.perf_counter()
        with transaction.atomic():
            assert len(allocate_keys(pool, item, [unit])) == 1
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
