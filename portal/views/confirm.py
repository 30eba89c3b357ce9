from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def ask(request: HttpRequest, *, base: str = "base.html", **context: Any) -> HttpResponse:
    """Ask whether an act is meant: a page of its own, or what htmx puts into the page's dialog.

    `title` and `text` name the act and its consequence, `button` the act; `form` is what there is to fill in, `cancel`
    the address to go back to. The form is posted to the address that asks, unless `action` names another.
    """
    in_dialog = request.htmx and request.method == "GET"  # type: ignore[attr-defined]
    template = "confirm_fragment.html" if in_dialog else "confirm.html"
    response = render(request, template, {"base": base, "action": request.get_full_path(), **context})
    if in_dialog:
        response["Content-Confirm"] = "yes"  # static/keywell.js opens nothing else as a dialog
    return response
