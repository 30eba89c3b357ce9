"""Requests to our API in several programming languages, with the start of the merchant's own test key."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string

from merchants.models import ApiKey

# The rest of a key, which only the merchant knows.
REST = "…"


@dataclass(frozen=True)
class Snippet:
    language: str
    name: str  # of its template
    text: str


def make_snippets(method: str, path: str, body: Any = None, *, key: ApiKey | None = None) -> list[Snippet]:
    """A request to our API in each language. A body that is a text is sent as plain text, any other as JSON."""
    text = f"{key.text_start if key else 'kw_test'}_{REST}"
    kind = "text/plain" if isinstance(body, str) else "application/json"
    values = {"method": method, "url": settings.BASE_URL + path, "key": text, "body": body, "kind": kind}
    return [Snippet(language, name, _render(name, quote, values)) for language, name, quote in LANGUAGES]


def _render(name: str, quote: Callable[[Any], str], values: dict[str, Any]) -> str:
    quoted = {each: quote(value) for each, value in values.items() if value is not None}
    # These need no quotes within a text: they consist of letters, digits, underscores and slashes.
    plain = {"text": values["key"], "type": values["kind"], "verb": values["method"]}
    body = {"has_body": values["body"] is not None, "is_text": isinstance(values["body"], str)}
    return render_to_string(f"portal/requests/{name}.txt", quoted | plain | body).strip()


def quote_json(value: Any, indent: int = 2) -> str:
    # Not as ASCII: Python reads the escape of a character beyond U+FFFF as two characters.
    return json.dumps(value, ensure_ascii=False, indent=indent)


def quote_shell(value: Any) -> str:
    return shlex.quote(value if isinstance(value, str) else quote_json(value))


def quote_python(value: Any) -> str:
    # JSON without true, false and null is Python.
    return quote_json(value, indent=4)


def quote_php(value: Any, margin: str = "") -> str:
    if isinstance(value, str):
        # In single quotes PHP replaces no variables, and only these two characters need a backslash.
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if isinstance(value, int):
        return str(value)
    inner = f"{margin}    "
    if isinstance(value, dict):
        lines = [f"{quote_php(name)} => {quote_php(each, inner)}" for name, each in value.items()]
    else:
        lines = [quote_php(each, inner) for each in value]
    return "[\n" + "".join(f"{inner}{line},\n" for line in lines) + f"{margin}]"


LANGUAGES: list[tuple[str, str, Callable[[Any], str]]] = [
    ("curl", "curl", quote_shell),
    ("Python", "python", quote_python),
    ("PHP", "php", quote_php),
    ("JavaScript", "javascript", quote_json),
]
