from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.contrib import messages
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils.functional import Promise
from django.views.decorators.http import require_http_methods

from portal.orders.desk import Desk


@dataclass(frozen=True)
class Question:
    """A confirmation dialog. `title` and `text` describe the action and its consequences."""

    title: str | Promise
    text: str | Promise = ""
    button: str | Promise = ""
    danger: bool = False
    form: BaseForm | None = None
    back: Any = None  # target of Cancel, as for redirect(); by default the page of the view's object
    then: Any = None  # target after the action; by default `back`
    section: str = ""
    template: str = ""  # of a full page, for forms that don't need a dialog


Confirmation = Generator[Question, None, str | HttpResponse | None]


def confirmed(view: Callable[..., Confirmation]) -> Callable[..., HttpResponse]:
    """Make a view from a generator that yields a Question, acts, and returns a success message or a response.

    The generator continues when the question is posted with a valid form. To show errors found while acting, it yields
    the question again.
    """

    @wraps(view)
    @require_http_methods(["GET", "POST"])
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        steps = view(request, *args, **kwargs)
        place: Any = args[0] if args else None
        question = next(steps)
        try:
            if request.method == "POST" and (question.form is None or question.form.is_valid()):
                question = next(steps)
        except StopIteration as end:
            if isinstance(end.value, HttpResponse):
                return end.value
            if end.value:
                messages.success(request, end.value)
            return redirect(question.then or question.back or place)
        return ask(request, question, place)

    return wrapped


def ask(request: HttpRequest, question: Question, place: Any) -> HttpResponse:
    """Render the question as a page, or as a fragment for htmx's dialog. The form posts to the same URL."""
    in_dialog = request.htmx and request.method == "GET"  # type: ignore[attr-defined]
    context = {"base": "base.html"} | (place.base_context() if isinstance(place, Desk) else {})
    context |= vars(question) | {"section": question.section or context.get("section", "")}
    context |= {"action": request.get_full_path(), "cancel": resolve_url(question.back or place)}
    if question.template:
        return render(request, question.template, context | {"place": place})
    response = render(request, "confirm_fragment.html" if in_dialog else "confirm.html", context)
    if in_dialog:
        response["Content-Confirm"] = "yes"  # static/keywell.js opens only these as a dialog
    return response
