import os
from collections.abc import Callable

from django.db import connection

from api.tests.factories import make_payment, place
from benchmarks.harness import cpu_seconds, services_of
from benchmarks.results import record
from fulfillment import engine
from fulfillment.product_sources import add_source
from merchants.models import CheckoutPage, Merchant, Product
from pools.imports import import_keys
from pools.models import LicensePool


def compare(items: int, rounds: int) -> None:
    merchant = Merchant.objects.create(name="Benchmark", slug="benchmark")
    CheckoutPage.objects.create(merchant=merchant, code="main", delivery_allowed=True)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE benchmark_floor (id bigserial PRIMARY KEY, number text NOT NULL)")
    pairs = [(serve(merchant, items, number), insert(items)) for number in range(rounds + 1)][1:]
    record(
        "serving waiting items",
        pairs,
        unit="s of CPU",
        baseline="one INSERT for each",
        goal="under 3 s for 1,000",
        digits=2,
        items=items,
    )


def serve(merchant: Merchant, items: int, number: int) -> float:
    """Let items wait for a pool, import their keys and serve them; return the CPU seconds of the last step."""
    product = Product.objects.create(merchant=merchant, sku=f"P-{number}", name="Program")
    pool = LicensePool.objects.create(merchant=merchant, name=f"Pool {number}", threshold=0)
    add_source(product, "pool", pool)
    for order in range(items):
        place(merchant, make_payment(product, order=f"W-{number}-{order}"))
    import_keys(pool, [f"KEY-{number}-{key:06}-ABCDE" for key in range(items)], actor="benchmark")

    seconds = cpu(lambda: engine.serve_waiting(pool))
    assert pool.keys.filter(item__isnull=False).count() == items
    return seconds


def insert(items: int) -> float:
    def run() -> None:
        with connection.cursor() as cursor:
            for number in range(items):
                cursor.execute("INSERT INTO benchmark_floor (number) VALUES (%s)", [str(number)])

    return cpu(run)


def cpu(action: Callable[[], None]) -> float:
    """Return the CPU seconds of this process and PostgreSQL."""
    processes = [os.getpid(), *services_of(os.getpid())["postgres"]]
    before = cpu_seconds(processes)
    action()
    return cpu_seconds(processes) - before
