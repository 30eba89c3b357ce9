"""Asks before saving changes and running actions with consequences, and says what these are."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from django.db.models import PROTECT, RESTRICT, QuerySet
from django.forms import PasswordInput
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.cache import add_never_cache_headers
from django.utils.text import capfirst
from django.utils.translation import gettext

from portal.staff.consequences import number

NUMBER = re.compile(r"\d[\d.,\s]*")
CONFIRMED = "_confirmed"
SECRETS = "confirming"  # in the session

Consequences = list[str]


def digest(consequences: Consequences, rows: QuerySet | None = None) -> str:
    """What a person confirms: these consequences, for these rows. Counts may change: they do while a shop sells."""
    texts = [NUMBER.sub("#", text) for text in consequences]
    seen = [texts, [] if rows is None else [str(pk) for pk in rows.order_by("pk").values_list("pk", flat=True)]]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def is_confirmed(request: HttpRequest, consequences: Consequences, rows: QuerySet | None = None) -> bool:
    """Whether the person saw what would happen now. What has changed since is asked again."""
    return request.POST.get(CONFIRMED) == digest(consequences, rows)


def ask(
    model_admin: Any,
    request: HttpRequest,
    consequences: Consequences,
    *,
    rows: QuerySet | None = None,
    confirmed: Consequences | None = None,
    secrets: Iterable[str] = (),
    **context: Any,
) -> HttpResponse:
    """Show the consequences. The form repeats the request, with the answer. Its secrets wait in the session, which is
    encrypted. The answer is to the consequences, or to the part of them that is `confirmed`.
    """
    left_out = {"csrfmiddlewaretoken", CONFIRMED, *secrets}
    fields = [(name, value) for name, values in request.POST.lists() if name not in left_out for value in values]
    typed = {name: request.POST[name] for name in secrets if request.POST.get(name)}
    if typed:
        request.session[SECRETS] = [request.path, typed]
    context = {
        "opts": model_admin.opts,
        "consequences": consequences,
        "fields": [*fields, (CONFIRMED, digest(consequences if confirmed is None else confirmed, rows))],
    } | context
    context |= {"cancel": request.get_full_path()} if "cancel" not in context else {}
    context = model_admin.admin_site.each_context(request) | context
    response = TemplateResponse(request, "admin/confirmation.html", context)
    add_never_cache_headers(response)
    return response


def restore_secrets(request: HttpRequest) -> None:
    """Put the secrets of a confirmed form back into it."""
    path, typed = request.session.pop(SECRETS, ["", {}])
    if path == request.path and CONFIRMED in request.POST:
        posted = request.POST.copy()
        posted.update(typed)
        request.POST = posted  # type: ignore[assignment]


def confirmed_action(
    find_consequences: Callable[[QuerySet], Consequences], *, button: Any, danger: bool = False
) -> Callable[[Callable], Callable]:
    """Make an admin action show its consequences first."""

    def decorate(action: Callable) -> Callable:
        @wraps(action)
        def asked(model_admin: Any, request: HttpRequest, queryset: QuerySet) -> HttpResponse | None:
            consequences = find_consequences(queryset)
            if is_confirmed(request, consequences, queryset):
                response: HttpResponse | None = action(model_admin, request, queryset)
                return response
            return ask(
                model_admin,
                request,
                consequences,
                rows=queryset,
                title=asked.short_description,  # type: ignore[attr-defined]
                button=button,
                danger=danger,
            )

        return asked

    return decorate


class Unconfirmed(Exception):
    """Undoes the transaction that saves a form."""

    def __init__(self, form: Any, consequences: Consequences) -> None:
        super().__init__(consequences)
        self.row = form.instance
        self.consequences = consequences
        fields = form.fields.items()
        self.secrets = [form.add_prefix(name) for name, field in fields if isinstance(field.widget, PasswordInput)]


class ConfirmsConsequences:
    """A ModelAdmin that asks before it saves changes with consequences."""

    def get_consequences(self, request, form, formsets) -> Consequences:
        """What the changes of a valid form do, in sentences; nothing if they can be saved at once."""
        return []

    def save_related(self, request, form, formsets, change):
        consequences = self.get_consequences(request, form, formsets) if change else []
        if consequences and not is_confirmed(request, consequences):
            raise Unconfirmed(form, consequences)
        super().save_related(request, form, formsets, change)  # type: ignore[misc]

    def changeform_view(self, request, object_id=None, form_url="", extra_context=None):
        restore_secrets(request)
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)  # type: ignore[misc]
        except Unconfirmed as unconfirmed:
            row = unconfirmed.row
            texts: dict[str, Any] = {"title": gettext("Save these changes?"), "button": gettext("Save")}
            return ask(self, request, unconfirmed.consequences, secrets=unconfirmed.secrets, row=row, **texts)

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
