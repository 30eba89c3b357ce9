"""Reads what a sender posted, which may be anything. Each getter checks its value and names the field in errors."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext

from orders.money import DECIMALS
from shops.changes import Cause, Parked

MAX_TEXT = 1000
# Larger amounts can't be stored. Shops that calculate with floats send many decimals, which are rounded later.
AMOUNT = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,20})?")
SECONDS = re.compile(r"[0-9]{1,11}(\.[0-9]{1,6})?")
STEP = re.compile(r"\.?([^.\[\]]+)|\[([0-9]{1,4})\]")
UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


class Node:
    """A value at a path of a document. A missing value is like null."""

    def __init__(self, value: Any, path: str = "") -> None:
        self.value, self.path = value, path

    def __getitem__(self, name: str | int) -> "Node":
        path = f"{self.path}[{name}]" if isinstance(name, int) else f"{self.path}.{name}".lstrip(".")
        if isinstance(self.value, dict):
            return Node(self.value.get(name), path)
        if isinstance(self.value, list) and isinstance(name, int) and name < len(self.value):
            return Node(self.value[name], path)
        return Node(None, path)

    def at(self, path: str) -> "Node":
        """The value at a path such as `customer.email`, `items[0].sku` or `$.order`, or in a field of that name."""
        if isinstance(self.value, dict) and path in self.value:
            return self[path]
        node = self
        for name, index in STEP.findall(path.removeprefix("$")):
            node = node[int(index)] if index else node[name]
        return node

    def __iter__(self) -> Iterator["Node"]:
        """The values of a list. Null is an empty one."""
        if self.value is not None and not isinstance(self.value, list):
            raise self.wrong(gettext("{field} isn’t a list."))
        return (self[index] for index in range(len(self.value or [])))

    def __bool__(self) -> bool:
        """Whether there is a value. PHP encodes an empty object as []."""
        return self.value not in (None, "", [], {})

    def encode(self) -> bytes:
        """The value as JSON, always the same."""
        return json.dumps(self.value, sort_keys=True, separators=(",", ":")).encode()

    def wrong(self, message: str) -> Parked:
        return Parked(Cause.INVALID, message.format(field=self.path or gettext("The event")))

    def text(self, default: str = "") -> str:
        """A text or number as text, without what PostgreSQL can't store. Raises Parked."""
        if self.value is None:
            return default
        if not is_text(self.value):
            raise self.wrong(gettext("{field} isn’t a text."))
        return UNSTORABLE.sub("", str(self.value))[:MAX_TEXT].strip() or default

    def label(self) -> str:
        """The text, or nothing if it isn't one. For what is read before the event is stored, which can't fail."""
        return UNSTORABLE.sub("", self.value)[:MAX_TEXT].strip() if isinstance(self.value, str) else ""

    def needed(self) -> str:
        """The text, which must not be empty. Raises Parked."""
        if text := self.text():
            return text
        raise self.wrong(gettext("{field} is missing."))

    def first(self, *names: str) -> str:
        """The first of these fields that isn't empty, as text."""
        return next(filter(None, (self[name].text() for name in names)), "")

    def texts(self) -> dict[str, str]:
        """The fields that are texts or numbers, by name. Others are left out."""
        fields = self.value.items() if isinstance(self.value, dict) else ()
        return {str(name): Node(value).text() for name, value in fields if is_text(value)}

    def integer(self, default: int | None = None) -> int:
        text = self.text()
        if not text and default is not None:
            return default
        if not re.fullmatch(r"-?[0-9]{1,12}(\.0+)?", text):
            raise self.wrong(gettext("{field} isn’t a whole number."))
        return int(text.partition(".")[0])

    def quantity(self, default: int | None = None) -> int | Decimal:
        """A whole number or, of goods that are sold by weight, a decimal."""
        amount = self.amount(None if default is None else Decimal(default))
        return int(amount) if amount == int(amount) else amount

    def amount(self, default: Decimal | None = None) -> Decimal:
        """A decimal amount, such as 59.98 or "59.98"."""
        text = self.text()
        if not text and default is not None:
            return default
        if not AMOUNT.fullmatch(text):
            raise self.wrong(gettext("{field} isn’t an amount."))
        return Decimal(text)

    def minor(self, currency: str, default: int | None = None) -> Decimal:
        """An amount in the smallest unit of the currency, such as 5998 for 59.98 EUR and 900 for 900 JPY."""
        return Decimal(self.integer(default)).scaleb(-DECIMALS.get(currency, 2))

    def currency(self) -> str:
        code = self.needed().upper()
        if code not in DECIMALS:
            raise self.wrong(gettext("{field} isn’t an ISO 4217 currency code."))
        return code

    def moment(self) -> datetime:
        """A time in ISO 8601 or in seconds since 1970. Without an offset it is in UTC."""
        text = self.needed()
        try:
            if SECONDS.fullmatch(text):
                return datetime.fromtimestamp(float(text), UTC)
            moment = parse_datetime(text.replace(" ", "T", 1) if re.match(r"\d{4}-\d\d-\d\d ", text) else text)
            if moment is not None:
                moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
                moment.astimezone(UTC)
                return moment
        except (ValueError, OverflowError, OSError) as error:
            raise self.wrong(gettext("{field} isn’t a time.")) from error
        raise self.wrong(gettext("{field} isn’t a time."))

    def flag(self) -> bool:
        """True for true, 1, "true", "1", "yes" and "on"."""
        return str(self.value).lower() in {"true", "1", "yes", "on"}


def is_text(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def read_json(body: bytes) -> Node:
    """Parse a sender's JSON. Raises Parked."""
    try:
        return Node(json.loads(body, parse_constant=_refuse))
    except (ValueError, RecursionError) as error:
        raise Parked(Cause.INVALID, gettext("The event isn’t JSON.")) from error


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def split_name(name: str) -> tuple[str, str]:
    """Split a full name into first and last name: the last word is the last name."""
    first, _, last = name.strip().rpartition(" ")
    return (first, last) if first else (last, "")
