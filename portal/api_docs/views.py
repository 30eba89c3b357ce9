"""The reference of our API, for anyone: one page for each operation, with examples and a place to try it."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from portal.api_docs.reading import TAGS, read_operations
from portal.snippets import make_snippets, quote_json


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    return render(request, "portal/api_docs/index.html", {"tags": group()})


@require_safe
def operation(request: HttpRequest, name: str) -> HttpResponse:
    shown = read_operations().get(name)
    if shown is None:
        raise Http404
    snippets = make_snippets(shown.method, shown.sample_path, shown.body)
    body = shown.body if shown.body is None or isinstance(shown.body, str) else quote_json(shown.body)
    context = {
        "tags": group(),
        "operation": shown,
        "snippets": snippets,
        "body": body,
        "is_text": isinstance(shown.body, str),
    }
    return render(request, "portal/api_docs/operation.html", context)


def group() -> list:
    operations = read_operations().values()
    return [(title, [one for one in operations if one.tag == tag]) for tag, title in TAGS.items()]
