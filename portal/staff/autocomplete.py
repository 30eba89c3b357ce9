"""Inlines of the admin whose rows choose another row by autocomplete."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.db.models import Model

from portal.staff.labels import NamedFields


class KnownChoice(AutocompleteSelect):
    """What is chosen already has been read with the row, and isn't read again."""

    known: Model | None = None

    def optgroups(self, name, value, attr=None):
        if not self.known or [str(self.known.pk)] != [str(each) for each in value]:
            return super().optgroups(name, value, attr)
        return [(None, [self.create_option(name, self.known.pk, str(self.known), True, 0)], 0)]


class AutocompleteInline(NamedFields, admin.TabularInline):
    def get_queryset(self, request):
        rows = super().get_queryset(request)
        return rows.select_related(*self.autocomplete_fields) if self.autocomplete_fields else rows

    def formfield_for_foreignkey(self, db_field, request, **kwargs):
        if db_field.name in self.autocomplete_fields:
            kwargs["widget"] = KnownChoice(db_field, self.admin_site)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_formset(self, request, obj=None, **kwargs):
        formset = super().get_formset(request, obj, **kwargs)

        def add_fields(self: Any, form: Any, index: int) -> None:
            formset.add_fields(self, form, index)
            for name, field in form.fields.items():
                widget = getattr(field.widget, "widget", None)
                if isinstance(widget, KnownChoice) and form.instance.pk:
                    widget.known = getattr(form.instance, name)

        return type(formset.__name__, (formset,), {"add_fields": add_fields})
