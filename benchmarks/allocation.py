"""Compares the time to issue a key from pools of 10,000 and 10,000,000 keys, full and 90 % drained."""

import argparse
import importlib

from benchmarks.harness import database


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.allocation", description=__doc__)
    parser.add_argument("--keys", type=int, default=10_000_000, metavar="N", help="in the large pool")
    parser.add_argument("--rounds", type=int, default=10, metavar="N")
    options = parser.parse_args()

    with database():
        importlib.import_module("benchmarks.allocation_pools").compare(options.keys, options.rounds)


if __name__ == "__main__":
    main()
