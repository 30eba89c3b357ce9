"""Two web and two worker groups on one PostgreSQL and one Valkey: one of each is killed during the payments.

    .venv/bin/python -m faults.groups [--payments N]

Prints what the shop saw: no connection or a 5xx is repeated, at another group, until the payment is accepted.
"""

import argparse
import time

from runtime.tests.groups import Group, Shop, cluster


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--payments", type=int, default=2000)
    count = parser.parse_args().payments
    with cluster() as shared:
        shared.fill(count + 100)
        first, second = groups = [Group(shared, "a"), Group(shared, "b")]
        for group in groups:
            group.start()
        shop = Shop(shared, groups)
        try:
            start = time.perf_counter()
            kills = [lambda: second.kill("web"), lambda: first.kill("worker")]
            shop.pay_all("p", count, then={count // 3: kills[:1], count // 2: kills[1:]})
            seconds = time.perf_counter() - start
            shared.check("p", count)
        finally:
            for group in groups:
                group.stop()
    # After the check: each order has its own code and e-mail, and the audit found nothing.
    print(f"{count} payments in {seconds:.0f} s, all delivered; statuses (0: no connection): {dict(shop.statuses)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
