"""Reads our API's schema into what its pages show. https://spec.openapis.org/oas/v3.0.3"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from api.docs import read_schema

MAX_DEPTH = 4  # of fields in fields
PREFIX = "#/components/schemas/"
# The first part of an operation's path, in this sequence.
TAGS: dict[str, str | Promise] = {"payments": _("Payments"), "orders": _("Orders"), "pools": _("Pools")}
# Samples of values, by the name of a field or of a part of a path.
SAMPLES: dict[str, Any] = {
    "order": "A0012345679",
    "number": "A0012345679",
    "id": 1,
    "item": "1",
    "paid_at": "2026-11-22T10:00:00Z",
    "currency": "EUR",
    "checkout_page": "main",
    "language": "en",
    "email": "ada@example.com",
    "first_name": "Ada",
    "last_name": "Byron",
    "country": "GB",
    "product": "PHOTO-PRO",
    "quantity": 2,
    "total_price": "59.98",
    "amount": "29.99",
    "reference": "R-1",
}
KEYS = "AAAA-BBBB-1111\nAAAA-BBBB-2222\n"


@dataclass(frozen=True)
class Value:
    """A parameter, or a field of a request or an answer. The path names the fields that it is in."""

    path: str
    kind: str
    is_required: bool = False
    description: str = ""


@dataclass(frozen=True)
class Reply:
    status: str
    description: str
    schema: str = ""  # its name


@dataclass(frozen=True)
class Operation:
    name: str
    method: str
    path: str
    summary: str
    description: str
    parameters: list[Value]
    fields: list[Value]
    replies: list[Reply]
    answer: list[Value]
    body: Any = None  # a sample
    tag: str = ""

    @property
    def url(self) -> str:
        return reverse("api-docs-operation", args=[self.name])

    @property
    def sample_path(self) -> str:
        path = self.path
        for name, value in SAMPLES.items():
            path = path.replace(f"{{{name}}}", str(value))
        return path


@cache
def read_operations() -> dict[str, Operation]:
    """All operations by name, in the sequence of TAGS."""
    found = [
        _read(path, method, operation)
        for path, methods in read_schema()["paths"].items()
        for method, operation in methods.items()
    ]
    found.sort(key=lambda operation: list(TAGS).index(operation.tag))
    return {operation.name: operation for operation in found}


def read_texts() -> set[str]:
    """The texts of the schema that pages show, to be translated."""
    texts = set()
    for operation in read_operations().values():
        values = [*operation.parameters, *operation.fields, *operation.answer]
        texts |= {operation.summary, operation.description, *(value.description for value in values)}
        texts |= {reply.description for reply in operation.replies}
    return texts - {""}


def _read(path: str, method: str, operation: dict[str, Any]) -> Operation:
    contents = operation.get("requestBody", {}).get("content", {})
    body = contents.get("application/json", {}).get("schema")
    success = next(status for status in operation["responses"] if status.startswith("2"))
    return Operation(
        name=operation["operationId"].removeprefix("v1_").replace("_", "-"),
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation.get("description", ""),
        parameters=[_read_parameter(parameter) for parameter in operation.get("parameters", [])],
        fields=list(_flatten(body)) if body else [],
        replies=[
            Reply(status, reply["description"], _name_of(reply)) for status, reply in operation["responses"].items()
        ],
        answer=list(_flatten(_schema_of(operation["responses"][success]))),
        body=_sample(body) if body else KEYS if "text/plain" in contents else None,
        tag=path.split("/")[3],
    )


def _read_parameter(parameter: dict[str, Any]) -> Value:
    kind = _kind(parameter["schema"])
    return Value(parameter["name"], kind, parameter.get("required", False), parameter.get("description", ""))


def _schema_of(reply: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = next(iter(reply.get("content", {}).values()), {})
    schema: dict[str, Any] = content.get("schema", {})
    return schema


def _name_of(reply: dict[str, Any]) -> str:
    return str(_schema_of(reply).get("$ref", "")).removeprefix(PREFIX)


def _resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that this one refers to, with the texts that come with the reference."""
    target = schema.get("$ref") or next((part["$ref"] for part in schema.get("allOf", []) if "$ref" in part), "")
    if not target:
        return schema
    found: dict[str, Any] = read_schema()["components"]["schemas"][target.removeprefix(PREFIX)]
    own = {name: value for name, value in schema.items() if name not in {"$ref", "allOf"}}
    return found | own


def _flatten(schema: dict[str, Any], path: str = "", depth: int = 0) -> Iterator[Value]:
    """Yield the fields of an object and of the objects in it, with their paths."""
    schema = _resolve(schema)
    if schema.get("type") == "array":
        yield from _flatten(schema["items"], f"{path}[]", depth)
        return
    for name, inner in schema.get("properties", {}).items():
        resolved, place = _resolve(inner), f"{path}.{name}".lstrip(".")
        # An object's own description is that of its class.
        description = (inner if "properties" in resolved else resolved).get("description", "")
        yield Value(place, _kind(resolved), name in schema.get("required", []), description)
        if depth < MAX_DEPTH:
            nested = _resolve(resolved["items"]) if resolved.get("type") == "array" else resolved
            yield from _flatten(nested, f"{place}[]" if nested is not resolved else place, depth + 1)


def _kind(schema: dict[str, Any]) -> str:
    resolved = _resolve(schema)
    if "enum" in resolved:
        return " | ".join(str(value) for value in resolved["enum"] if value != "")
    if resolved.get("type") == "array":
        return f"{_kind(resolved['items'])}[]"
    return str(resolved.get("format") or resolved.get("type", "any"))


def _sample(schema: dict[str, Any]) -> Any:
    """A sample of an object: what is required, and the fields that have a sample."""
    schema = _resolve(schema)
    made: dict[str, Any] = {}
    for name, inner in schema.get("properties", {}).items():
        resolved = _resolve(inner)
        if resolved.get("type") == "array" and "properties" in _resolve(resolved["items"]):
            made[name] = [_sample(resolved["items"])]
        elif "properties" in resolved and name in schema.get("required", []):
            made[name] = _sample(resolved)
        elif name in SAMPLES:
            made[name] = SAMPLES[name]
    return made
