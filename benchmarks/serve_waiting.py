"""Compares the CPU time to serve waiting items after an import with one INSERT for each of them."""

import argparse
import importlib

from benchmarks.harness import database


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve_waiting", description=__doc__)
    parser.add_argument("--items", type=int, default=1000, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    options = parser.parse_args()

    with database():
        importlib.import_module("benchmarks.waiting_items").compare(options.items, options.rounds)


if __name__ == "__main__":
    main()
