"""Connect a shop from a terminal or a script."""

import re
from argparse import ArgumentTypeError
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse

from merchants.models import Merchant
from portal.shops.forms import ConnectionForm
from shops.connecting import connect, free_name
from shops.kinds import KINDS
from shops.models import Connection


class Command(BaseCommand):
    help = "Connects a shop and prints, one per line, its URL and the secret that it signs its requests with."

    def add_arguments(self, parser):
        parser.add_argument("action", choices=["add"])
        parser.add_argument("kind", metavar="KIND", type=find_kind, help=f"one of {', '.join(KINDS)}")
        parser.add_argument(
            "--merchant", metavar="SLUG", required=True, help="the merchant’s slug, which `manage merchant` prints"
        )
        parser.add_argument("--name", metavar="NAME", help="by default, the kind’s name")
        parser.add_argument(
            "--secret", metavar="SECRET", default="", help="by default, a new one unless the shop makes it"
        )
        parser.add_argument(
            "--set",
            metavar="OPTION=VALUE",
            action="append",
            default=[],
            help="one of the kind’s options, such as api_key=…",
        )

    def handle(self, *, kind: str, merchant: str, **options: Any) -> None:
        vendor = Merchant.objects.live().filter(slug=merchant).first()
        if vendor is None:
            raise CommandError(f"--merchant: there is no merchant “{merchant}”.")
        brand = KINDS[kind](Connection(merchant=vendor, kind=kind))
        values = self._read_options(options["set"], [option.name for option in brand.options])
        form = ConnectionForm(
            brand,
            {"name": options["name"] or free_name(vendor, kind)}
            | {f"option_{option.name}": values.get(option.name, option.initial) for option in brand.options},
        )
        if not form.is_valid():
            errors = [f"{name_argument(field)}: {' '.join(map(str, texts))}" for field, texts in form.errors.items()]
            raise CommandError("\n".join(errors))
        shop = connect(vendor, kind, secret=options["secret"].strip(), values=form.values, **form.settings)
        self.stdout.write(shop.url)
        self.stdout.write(shop.secret)
        if brand.signs and not shop.secret:
            page = f"{settings.BASE_URL}{reverse('shop-start', args=[shop.pk])}"
            self.stderr.write(
                f"Enter the shop’s {str(brand.secret_label).lower()} at {page}, or use --secret next time."
            )

    def _read_options(self, pairs: list[str], names: list[str]) -> dict[str, str]:
        values = {}
        for pair in pairs:
            name, separator, value = pair.partition("=")
            if not separator or name not in names:
                known = ", ".join(names) or "no options"
                raise CommandError(f"--set {pair!r}: write OPTION=VALUE. This kind has {known}.")
            values[name] = value
        return values


def find_kind(text: str) -> str:
    """Return the code of a kind, also for spellings such as “Lemon-Squeezy”. Raises ArgumentTypeError."""
    codes = {code.replace("_", ""): code for code in KINDS}
    found = codes.get(re.sub(r"[\W_]+", "", text).lower())
    if found is None:
        raise ArgumentTypeError(f"“{text}” isn’t a kind of shop. Choose one of {', '.join(KINDS)}.")
    return found


def name_argument(field: str) -> str:
    """The argument of the command that fills a field of the form."""
    return f"--set {field.removeprefix('option_')}" if field.startswith("option_") else f"--{field}"
