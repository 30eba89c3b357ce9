"""The server's time for each page of the order desk, beside a page that reads one row by its primary key."""

import argparse
import contextlib
import importlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import django
from django.core.management import call_command

import run
from runtime.tests.installation import UNSET


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.desk", description=__doc__)
    parser.add_argument("--orders", type=int, default=200_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=40, metavar="N")
    parser.add_argument("--plans", action="store_true", help="explain the slowest query of each page")
    parser.add_argument("--var", type=Path, help="a folder to keep the data in; used as it is if it holds some")
    options = parser.parse_args()

    with contextlib.ExitStack() as stack:
        folder = options.var or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "var"
        stack.enter_context(servers(folder))
        django.setup()
        call_command("migrate", verbosity=0)
        # Its models can be imported only now.
        pages = importlib.import_module("benchmarks.desk_pages")
        pages.fill(options.orders)
        pages.compare(options.rounds)
        if options.plans:
            pages.explain()


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[None]:
    """PostgreSQL and Valkey of its own, as in production; nothing of a developer's settings counts."""
    for name in ("SECRET_KEY", "VAULT_KEYS"):
        os.environ.pop(name, None)
    os.environ.update(dict.fromkeys(UNSET, "") | {"KEYWELL_VAR": str(folder.resolve()), "DJANGO_DEBUG": "off"})
    var = run.read_settings()
    run.prepare_demo(var)
    with run.supervisor(var) as services:
        services.start(*run.embedded_servers(var))
        yield


if __name__ == "__main__":
    main()
