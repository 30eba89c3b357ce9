from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.contrib import messages
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.views.decorators.http import require_http_methods

from portal.orders.desk import Desk


@dataclass(frozen=True)
class Question:
    """Whether an act is meant: `title` and `text` name it and its consequence, `button` the act."""

    title: str
    text: str = ""
    button: str = ""
    danger: bool = False
    form: BaseForm | None = None  # what there is to fill in
    back: Any = None  # where to go if not, as redirect() takes it; the page of what the view is about
    then: Any = None  # where to go once it is done, if not back
    section: str = ""
    template: str = ""  # of a page with a form, where there is nothing to confirm


Confirmation = Generator[Question, None, str | HttpResponse | None]


def confirmed(view: Callable[..., Confirmation]) -> Callable[..., HttpResponse]:
    """Make a view of a generator that yields a Question, acts, and returns what is said then, or a response.

    It acts when the question is posted, with a form that is valid. If the form turns out to be wrong all the same, it
    yields the question once more.
    """

    @wraps(view)
    @require_http_methods(["GET", "POST"])
    def asking(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
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

    return asking


def ask(request: HttpRequest, question: Question, place: Any) -> HttpResponse:
    """A page of its own, or what htmx puts into the page's dialog. The form is posted to the address that asks."""
    in_dialog = request.htmx and request.method == "GET"  # type: ignore[attr-defined]
    context = {"base": "base.html"} | (place.base_context() if isinstance(place, Desk) else {})
    context |= vars(question) | {"section": question.section or context.get("section", "")}
    context |= {"action": request.get_full_path(), "cancel": resolve_url(question.back or place)}
    if question.template:
        return render(request, question.template, context | {"place": place})
    response = render(request, "confirm_fragment.html" if in_dialog else "confirm.html", context)
    if in_dialog:
        response["Content-Confirm"] = "yes"  # static/keywell.js opens nothing else as a dialog
    return response
