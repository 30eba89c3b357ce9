"""The routes of the project, read from its URL configuration."""

import re
from collections.abc import Iterator

from django.urls import URLResolver, get_resolver


def routes(resolver: URLResolver | None = None, prefix: str = "") -> Iterator[str]:
    resolver = resolver or get_resolver()
    for pattern in resolver.url_patterns:
        route = prefix + str(pattern.pattern).removeprefix("^")
        if isinstance(pattern, URLResolver):
            yield from routes(pattern, route)
        else:
            yield route


def fill(route: str, values: dict[str, object]) -> str:
    """The URL path of a route with these arguments."""
    route = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"<\1>", route).removesuffix("$")
    return "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda match: str(values[match[1]]), route)
