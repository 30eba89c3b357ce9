"""Asks before saving changes and running actions with consequences, and says what these are."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from django.db.models import PROTECT, RESTRICT, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.text import capfirst
from django.utils.translation import gettext

from portal.staff.consequences import number

CONFIRMED = "_confirmed"

Consequences = list[str]


def ask(model_admin: Any, request: HttpRequest, consequences: Consequences, **context: Any) -> HttpResponse:
    """Show the consequences. The form repeats the request, with the answer."""
    fields = [
        (name, value) for name, values in request.POST.lists() if name != "csrfmiddlewaretoken" for value in values
    ]
    context = {
        "opts": model_admin.opts,
        "consequences": consequences,
        "fields": [*fields, (CONFIRMED, "yes")],
    } | context
    context |= {"cancel": request.get_full_path()} if "cancel" not in context else {}
    return TemplateResponse(request, "admin/confirmation.html", model_admin.admin_site.each_context(request) | context)


def confirmed_action(
    find_consequences: Callable[[QuerySet], Consequences], *, button: Any, danger: bool = False
) -> Callable[[Callable], Callable]:
    """Make an admin action show its consequences first."""

    def decorate(action: Callable) -> Callable:
        @wraps(action)
        def asked(model_admin: Any, request: HttpRequest, queryset: QuerySet) -> HttpResponse | None:
            if CONFIRMED in request.POST:
                response: HttpResponse | None = action(model_admin, request, queryset)
                return response
            return ask(
                model_admin,
                request,
                find_consequences(queryset),
                title=asked.short_description,  # type: ignore[attr-defined]
                button=button,
                danger=danger,
            )

        return asked

    return decorate


class Unconfirmed(Exception):
    """Undoes the transaction that saves a form."""

    def __init__(self, row: Any, consequences: Consequences) -> None:
        super().__init__(consequences)
        self.row = row
        self.consequences = consequences


class ConfirmsConsequences:
    """A ModelAdmin that asks before it saves changes with consequences."""

    def get_consequences(self, request, form, formsets) -> Consequences:
        """What the changes of a valid form do, in sentences; nothing if they can be saved at once."""
        return []

    def save_related(self, request, form, formsets, change):
        is_asked = change and CONFIRMED not in request.POST
        if is_asked and (consequences := self.get_consequences(request, form, formsets)):
            raise Unconfirmed(form.instance, consequences)
        super().save_related(request, form, formsets, change)  # type: ignore[misc]

    def changeform_view(self, request, object_id=None, form_url="", extra_context=None):
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)  # type: ignore[misc]
        except Unconfirmed as unconfirmed:
            row = unconfirmed.row
            title = gettext("Save these changes?")
            return ask(self, request, unconfirmed.consequences, title=title, button=gettext("Save"), row=row)

    def get_deleted_objects(self, objs, request):
        """Name and count rows that prevent the deletion, instead of reading millions of them."""
        if obstacles := list(find_obstacles(self.model, objs)):  # type: ignore[attr-defined]
            return [], {}, set(), obstacles
        return super().get_deleted_objects(objs, request)  # type: ignore[misc]


def find_obstacles(model: Any, rows: Iterable[Any]) -> Iterable[str]:
    pks = [row.pk for row in rows]
    for relation in model._meta.related_objects:
        if relation.on_delete in {PROTECT, RESTRICT}:
            others = relation.related_model._default_manager.filter(**{f"{relation.field.name}__in": pks})
            if count := number(others):
                yield f"{capfirst(relation.related_model._meta.verbose_name_plural)}: {count}"
