"""Compares the server's time for each page of the order desk with a page that reads one row by primary key."""

import argparse
import importlib
from pathlib import Path

from benchmarks.harness import database


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.desk", description=__doc__)
    parser.add_argument("--orders", type=int, default=200_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=40, metavar="N")
    parser.add_argument("--plans", action="store_true", help="explain the slowest query of each page")
    parser.add_argument("--var", type=Path, help="a folder for the data; existing data is reused")
    options = parser.parse_args()

    with database(options.var):
        pages = importlib.import_module("benchmarks.desk_pages")
        pages.fill(options.orders)
        pages.compare(options.rounds)
        if options.plans:
            pages.explain()


if __name__ == "__main__":
    main()
