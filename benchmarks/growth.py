"""Measures how payments grow with the units of an order, the keys of a pool, the orders before, and the clients.

    .venv/bin/python -m benchmarks.growth units --sizes 1 10 100

Without names it measures all four. The largest sizes of keys and orders take half an hour each.
"""

import argparse
import itertools
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import (
    JSON,
    Client,
    Env,
    cpu_by_service,
    encode,
    paused,
    payment,
    production,
    run_script,
    send_all,
    serve,
    services_of,
    settings_of,
)
from benchmarks.results import record
from runtime.tests.installation import Keywell

SIZES = {
    "units": [1, 10, 100, 1000],
    "keys": [10_000, 100_000, 1_000_000, 10_000_000],
    "orders": [0, 50_000, 500_000, 5_000_000],
    "clients": [1, 4, 16, 64],
}
X_AXES = {
    "units": "units per order",
    "keys": "keys in the pool",
    "orders": "orders before",
    "clients": "clients at the same time",
}
WORKERS = ("worker", "callouts", "imports")
CLIENTS = 16
KEYS_PER_IMPORT = 500_000
ORDERS_PER_RUN = 100_000
# Units. After a start, PostgreSQL first has to read the pages into memory, and logs each one as a whole.
WARM_UP = 4000
MAKE_PRODUCT = """
from fulfillment.product_sources import add_source
from merchants.models import Merchant, Product
from pools.models import LicensePool
merchant = Merchant.objects.get()
product = Product.objects.create(merchant=merchant, sku="{sku}", name="{sku}")
pool = LicensePool.objects.create(merchant=merchant, name="{sku}", threshold=0)
add_source(product, "pool", pool)
print(merchant.slug)
"""
# As PostgreSQL would soon do; now, so that it doesn't interfere.
SETTLE = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("VACUUM (ANALYZE)")
    cursor.execute("CHECKPOINT")
"""


class Growth:
    """An installation, the floor's web server, and rounds that alternate between them."""

    def __init__(self, keywell: Keywell, env: Env, floor_port: int, options: argparse.Namespace) -> None:
        self.keywell, self.floor_port, self.options = keywell, floor_port, options
        self.headers = {"Authorization": f"Bearer {env['API_KEY']}", "Content-Type": JSON}
        prefix = secrets.token_hex(3)  # the folder may have been used before
        self.numbers = (f"{prefix}-{number}" for number in itertools.count())

    def run(self, curve: str, sizes: Sequence[int]) -> None:
        prepare: dict[str, Callable[[int], tuple[str, int, int]]] = {
            "units": lambda size: (self.product(f"UNITS-{size}", self.keys_needed(size)), size, CLIENTS),
            "keys": lambda size: (self.product(f"KEYS-{size}", max(size, self.keys_needed())), 1, CLIENTS),
            "orders": lambda size: (self.with_orders(size), 1, CLIENTS),
            "clients": lambda size: (self.product(f"CLIENTS-{size}", self.keys_needed()), 1, size),
        }
        for size in sizes:
            sku, units, clients = prepare[curve](size)
            with paused(self.keywell, *WORKERS):
                self.compare(curve, size, sku, units, clients)

    def keys_needed(self, units: int = 1) -> int:
        return int(WARM_UP + units * self.options.payments * (self.options.rounds + 1))

    def product(self, sku: str, keys: int) -> str:
        """Create a product with a pool of this many keys; return its SKU."""
        sku = f"{sku}-{secrets.token_hex(3)}"  # the folder may have been used before
        merchant = run_script(self.keywell, MAKE_PRODUCT.format(sku=sku))
        for start in range(0, keys, KEYS_PER_IMPORT):
            with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
                numbers = range(start, min(keys, start + KEYS_PER_IMPORT))
                file.write("\n".join(f"{sku}-{number:08}-ABCDE" for number in numbers))
                file.flush()
                result = self.keywell.run("manage", "import_keys", sku, file.name, "--merchant", merchant)
                assert result.returncode == 0, result.stderr
        return sku

    def with_orders(self, size: int) -> str:
        count = int(run_script(self.keywell, "from orders.models import Order; print(Order.objects.count())"))
        for start in range(count, size, ORDERS_PER_RUN):
            result = self.keywell.run("manage", "demo", "--orders", str(min(size - start, ORDERS_PER_RUN)))
            assert result.returncode == 0, result.stderr
        run_script(self.keywell, SETTLE)
        return self.product(f"ORDERS-{size}", self.keys_needed())

    def compare(self, curve: str, size: int, sku: str, units: int, clients: int) -> None:
        ours = [Client(self.keywell.port) for _ in range(clients)]
        floor = [Client(self.floor_port) for _ in range(clients)]
        self.measure(ours, sku, units, WARM_UP // units), self.measure(floor, sku, units)
        rounds = [
            (self.measure(ours, sku, units), self.measure(floor, sku, units)) for _ in range(self.options.rounds)
        ]
        sizes: dict[str, Any] = {X_AXES[curve]: size}
        for number, (what, unit) in enumerate([("payments", "per second"), ("CPU per payment", "ms")]):
            pairs = [(mine[number], other[number]) for mine, other in rounds]
            measure, axis = f"{what} by {X_AXES[curve]}", X_AXES[curve]
            record(measure, pairs, unit=unit, baseline="one INSERT by a DRF view", digits=2, axis=axis, **sizes)

    def measure(self, clients: Sequence[Client], sku: str, units: int, count: int = 0) -> tuple[float, float]:
        """Return payments per second, and CPU milliseconds per payment of the web server, PostgreSQL and Valkey."""
        bodies = [json.loads(payment(next(self.numbers), sku)) for _ in range(count or self.options.payments)]
        for body in bodies:
            body["items"][0]["quantity"] = units
        requests = [encode("/api/v1/payments/", json.dumps(body), self.headers) for body in bodies]
        before = self.used()
        seconds = send_all(clients, requests)
        return len(requests) / seconds, 1000 * (self.used() - before) / len(requests)

    def used(self) -> float:
        found = cpu_by_service(self.keywell, floor=services_of(os.getpid())["web"])
        return sum(found[name] for name in ("web", "postgres", "valkey", "floor"))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("curves", nargs="*", metavar="NAME", help=f"of {', '.join(SIZES)}")
    parser.add_argument("--sizes", nargs="+", type=int, metavar="N", help="instead of the curve's own")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--payments", type=int, default=64, metavar="N", help="per round (64)")
    parser.add_argument("--folder", type=Path, help="for the data; existing data is reused")
    options = parser.parse_args()
    with production(options.folder) as (keywell, env, _):
        server = ["runtime.web", "--application", "benchmarks.floors", "--address"]
        with serve(server, settings_of(keywell)) as port:
            growth = Growth(keywell, env, port, options)
            for curve in options.curves or SIZES:
                growth.run(curve, options.sizes or SIZES[curve])


if __name__ == "__main__":
    main()
