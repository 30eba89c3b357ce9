import itertools
import statistics
import time
from contextlib import closing

from django.db import connection, transaction

from benchmarks.results import record
from merchants.models import CheckoutPage, Merchant, Product
from orders.models import Order, OrderItem
from pools.allocation import advance_head_hint, allocate_keys
from pools.imports import import_keys
from pools.models import LicensePool

SMALL = 10_000
GOAL = "at most 1.5"
KEYS_A_ROUND = 50
DRAINED = 24_000
KEYS_PER_IMPORT = 500_000


def compare(large: int, rounds: int) -> None:
    merchant = Merchant.objects.create(name="Benchmark", slug="benchmark")
    pools = {size: make_pool(merchant, size) for size in (SMALL, large)}
    items = {size: make_item(merchant, str(size)) for size in pools}
    units = itertools.count(large + 1)
    compare_slices(merchant, rounds // 2)
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


def make_pool(merchant: Merchant, size: int, name: str = "") -> LicensePool:
    """Create a pool of this many keys."""
    name = name or f"{size:,}"
    pool = LicensePool.objects.create(merchant=merchant, name=name, threshold=0)
    for start in range(0, size, KEYS_PER_IMPORT):
        numbers = range(start, min(size, start + KEYS_PER_IMPORT))
        import_keys(pool, [f"{name}-{number:08}-ABCDE-FGHIJ" for number in numbers], actor="benchmark")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE pools_licensekey")
    pool.refresh_from_db()
    return pool


def compare_slices(merchant: Merchant, rounds: int) -> None:
    """Drain pools while another session holds an old snapshot, so nothing that is drained can be vacuumed."""
    pairs = []
    for number in range(rounds):
        pool, item = make_pool(merchant, DRAINED, f"Drained {number}"), make_item(merchant, f"D-{number}")
        units = itertools.count(1)
        with closing(connection.copy()) as other:
            other.set_autocommit(False)
            with other.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                cursor.execute("SELECT count(*) FROM pools_licensekey")
            slices = [time_of_a_key(pool, item, units, DRAINED // 10) for _ in range(10)]
        pairs.append((1000 * slices[-1], 1000 * slices[0]))
    record(
        "issuing the last tenth of a pool’s keys while an old snapshot is held",
        pairs,
        unit="ms",
        baseline="the first tenth",
        goal="0.9 to 1.1",
        digits=2,
        keys=DRAINED,
    )


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


def time_of_a_key(
    pool: LicensePool, item: OrderItem, units: "itertools.count[int]", count: int = KEYS_A_ROUND
) -> float:
    """Return the median in seconds over this number of payments, each a transaction."""
    seconds = []
    for _ in range(count):
        unit = next(units)
        start = time.perf_counter()
        with transaction.atomic():
            assert len(allocate_keys(pool, item, [unit])) == 1
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
