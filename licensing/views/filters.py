"""Which of a vendor's things a list is of, and which page of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet
from rest_framework.request import Request

from licensing.errors import MalformedRequest
from licensing.models import Licensee

MOST_ITEMS = 1000

Filter = Callable[[str], Q]


def equals(lookup: str) -> Filter:
    return lambda value: Q(**{lookup: value})


def is_true(lookup: str) -> Filter:
    return lambda value: Q(**{lookup: value.lower() == "true"})


def is_licensee(lookup: str = "") -> Filter:
    """By its number or an alias; of the things with this relation, or of licensees themselves."""
    return lambda value: Q(**{f"{lookup or 'pk'}__in": Licensee.objects.called(value).order_by().values("pk")})


@dataclass
class Page:
    rows: list[Any]
    number: int
    size: int
    total: int


def choose(rows: QuerySet, request: Request, filters: dict[str, Filter]) -> Page:
    """The page asked for of what the filters leave.

    `filter=a=1;b=2` holds all conditions; one on a name of ours may stand alone, too. In a filter every other name is
    one of the vendor's own properties. Raises MalformedRequest.
    """
    query = request.query_params.dict()
    asked = {name: str(value).strip() for name, value in query.items() if name in {*filters, "page", "items"}}
    conditions = asked | _parse(request.query_params.get("filter", ""))
    number = _whole(conditions.pop("page", ""), name="page", default=0, least=0)
    size = min(_whole(conditions.pop("items", ""), name="items", default=MOST_ITEMS, least=1), MOST_ITEMS)
    for name, value in conditions.items():
        own = Q(properties__contains={name: value})
        rows = rows.filter(filters[name](value) if name in filters else own)
    return Page(list(rows[number * size : (number + 1) * size]), number, size, rows.count())


def _parse(text: str) -> dict[str, str]:
    conditions = {}
    for part in filter(None, text.split(";")):
        name, equals_sign, value = part.partition("=")
        if not equals_sign:
            raise MalformedRequest(f"The filter has to read name=value;name=value, and “{part[:100]}” does not.")
        conditions[name.strip()] = value.strip()
    return conditions


def _whole(text: str, *, name: str, default: int, least: int) -> int:
    if not text:
        return default
    if not text.isdecimal() or len(text) > 9 or int(text) < least:
        raise MalformedRequest(f"{name} has to be a whole number, {least} at least.")
    return int(text)
