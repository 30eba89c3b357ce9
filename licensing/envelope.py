"""The wire format: requests are forms, responses are one envelope in XML or JSON."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from django.conf import settings
from django.http import HttpRequest, HttpResponse, QueryDict
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request

from licensing.errors import MalformedRequest
from work.bodies import read_body

NAMESPACE = "http://netlicensing.labs64.com/schema/context"
# Characters that XML 1.0 can't contain, not even as references.
INVALID_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# Most names and values: nothing in them needs an escape.
PLAIN = re.compile(r"[\w .:/+-]*", re.ASCII)

WEIGHT = re.compile(r"\bq\s*=\s*([01](?:\.[0-9]*)?)")

Properties = Mapping[str, Any]


@dataclass
class Item:
    """An item of a response: properties (None is left out) and named lists of properties."""

    type: str
    properties: Properties
    lists: list[tuple[str, Properties]] = field(default_factory=list)


@dataclass
class Info:
    id: str
    text: str
    type: str = "ERROR"


@dataclass
class Envelope:
    """A response. Without a size, all items are on one page. Errors have no items."""

    items: list[Item] | None = None
    infos: list[Info] = field(default_factory=list)
    ttl: datetime | None = None
    number: int = 0  # page number, from 0
    size: int | None = None
    total: int | None = None

    def page(self) -> dict[str, str]:
        count = len(self.items or [])
        total = count if self.total is None else self.total
        pages = -(-total // (self.size or count or 1))
        values = (self.number, count, pages, total, self.number + 1 < pages)
        names = ("pagenumber", "itemsnumber", "totalpages", "totalitems", "hasnext")
        return dict(zip(names, map(format_value, values), strict=True))


def format_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return format_datetime(value)
    if isinstance(value, Decimal):
        return f"{value:.2f}"
    return str(value)


def format_datetime(moment: datetime) -> str:
    """UTC, to the millisecond: 2026-01-31T23:59:59.000Z."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def _present(properties: Properties) -> Iterator[tuple[str, str]]:
    return ((name, format_value(value)) for name, value in properties.items() if value is not None)


class EnvelopeJSONRenderer(JSONRenderer):
    def render(self, data, accepted_media_type=None, renderer_context=None):
        if data is None:
            return b""
        content = {
            "signature": None,
            "infos": self._infos(data.infos),
            "items": None if data.items is None else {"item": list(map(self._item, data.items)), **data.page()},
            "id": None,
            "ttl": data.ttl and format_datetime(data.ttl),
        }
        return super().render(content, accepted_media_type, renderer_context)

    @staticmethod
    def _infos(infos: Iterable[Info]) -> dict[str, Any] | None:
        listed = [{"id": info.id, "type": info.type, "value": info.text} for info in infos]
        return {"info": listed} if listed else None

    def _item(self, item: Item) -> dict[str, Any]:
        lists = [
            {"name": name, "property": self._properties(properties), "list": []} for name, properties in item.lists
        ]
        return {"type": item.type, "property": self._properties(item.properties), "list": lists}

    @staticmethod
    def _properties(properties: Properties) -> list[dict[str, str]]:
        return [{"name": name, "value": value} for name, value in _present(properties)]


class EnvelopeXMLRenderer(BaseRenderer):
    media_type = "application/xml"
    format = "xml"
    charset = "utf-8"

    def render(self, data, accepted_media_type=None, renderer_context=None):
        if data is None:
            return b""
        ttl = f" ttl={_quoted(format_datetime(data.ttl))}" if data.ttl else ""
        infos = "".join(
            f"<info id={_quoted(info.id)} type={_quoted(info.type.lower())}>{_escaped(info.text)}</info>"
            for info in data.infos
        )
        content = f"<infos>{infos}</infos>" if infos else ""
        if data.items is not None:
            page = "".join(f" {name}={_quoted(value)}" for name, value in data.page().items())
            content += f"<items{page}>{''.join(map(self._item, data.items))}</items>"
        declaration = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        return f"{declaration}<netlicensing xmlns={_quoted(NAMESPACE)}{ttl}>{content}</netlicensing>".encode()

    def _item(self, item: Item) -> str:
        lists = "".join(
            f"<list name={_quoted(name)}>{self._properties(properties)}</list>" for name, properties in item.lists
        )
        return f"<item type={_quoted(item.type)}>{self._properties(item.properties)}{lists}</item>"

    @staticmethod
    def _properties(properties: Properties) -> str:
        return "".join(
            f"<property name={_quoted(name)}>{_escaped(value)}</property>" for name, value in _present(properties)
        )


def _escaped(text: str) -> str:
    return text if PLAIN.fullmatch(text) else escape(INVALID_XML.sub("\ufffd", text), {"\r": "&#13;"})


def _quoted(text: str) -> str:
    return f'"{text}"' if PLAIN.fullmatch(text) else quoteattr(INVALID_XML.sub("\ufffd", text))


def plain_refusal(request: HttpRequest, status: int, text: str) -> HttpResponse:
    renderer, media_type = Negotiation().select_renderer(request, [EnvelopeXMLRenderer(), EnvelopeJSONRenderer()])
    content = renderer.render(Envelope(infos=[Info(MalformedRequest.info, text)]))
    return HttpResponse(content, status=status, content_type=media_type)


class FormParser(BaseParser):
    """Parses a form of at most API_BODY_LIMIT bytes. The Content-Type may be missing."""

    media_type = "application/x-www-form-urlencoded"

    def parse(self, stream, media_type=None, parser_context=None) -> QueryDict:
        if media_type and self.media_type not in media_type:
            raise MalformedRequest(f"The Content-Type has to be {self.media_type}.")
        body = read_body(stream, settings.API_BODY_LIMIT)
        return QueryDict(body, encoding="utf-8")


class Negotiation(BaseContentNegotiation):
    """JSON if the request prefers it, otherwise XML."""

    def select_parser(self, request, parsers):
        return parsers[0]

    def select_renderer(self, request, renderers, format_suffix=None):
        json, xml = (_weight(request, media_type) for media_type in ("application/json", "application/xml"))
        wants_json = json > 0 and json >= xml
        renderer = next(each for each in renderers if isinstance(each, EnvelopeJSONRenderer) == wants_json)
        return renderer, renderer.media_type


def _weight(request: Request | HttpRequest, media_type: str) -> float:
    """Return the weight of this exact type in Accept (RFC 9110, 12.5.1); 0 if it isn't acceptable."""
    header = request.headers.get("Accept", "").lower()
    weights = [
        float(found[1]) if (found := WEIGHT.search(parameters)) else 1.0
        for name, _, parameters in (part.partition(";") for part in header.split(","))
        if name.strip() == media_type
    ]
    return max(weights, default=0.0)
