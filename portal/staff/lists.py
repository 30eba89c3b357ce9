"""The admin's lists, with the tables of the portal."""

from datetime import datetime
from typing import Any

from django.contrib.admin.templatetags.admin_list import result_headers
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import display_for_field, display_for_value, lookup_field
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import FieldDoesNotExist
from django.db.models import EmailField, Field, Model, TextField, URLField
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst

from portal.templatetags.portal import LOOKS, at, badge, breakable
from work.stored_texts import show_stored

# Columns whose values are badges, and those with texts that rows store in English.
STATES = {"status", "state", "outcome"}
STORED = {"reason", "error", "rejected_because", "disabled_reason", "imported_by", "undone_by", "reported_by"}
WIDE = (EmailField, URLField, TextField)
LONG = {"url", "reason", "error"}


class ListColumn:
    """A column of an admin list. Whatever is the same in all of its cells is computed once."""

    def __init__(self, name: str, label: str, model_admin: Any) -> None:
        self.name = name
        self.model_admin = model_admin
        self.empty = model_admin.get_empty_value_display()
        try:
            self.field: Field | None = model_admin.opts.get_field(name)
        except FieldDoesNotExist:
            self.field = None
        self.labels = dict(self.field.flatchoices) if self.field and self.field.choices else {}
        self.is_checkbox = name == "action_checkbox"
        css_class = "action-checkbox" if self.is_checkbox else f"field-{name}"
        if isinstance(self.field, WIDE) or name in LONG:
            css_class += " wide"  # on phones, below its label
        elif self.labels:
            css_class += " word"
        # Phones show it in front of the value.
        shown_label = "" if self.is_checkbox else f' data-label="{conditional_escape(label)}"'
        self.attributes = f' class="{css_class}"{shown_label}'

    def show(self, row: Model) -> str:
        """Return the HTML of the row's cell: the text that Django's `items_for_result` shows."""
        if self.field is None:
            _, attribute, value = lookup_field(self.name, row, self.model_admin)
            if self.name in STATES and value in LOOKS:
                return badge(value, getattr(value, "label", ""))
            if isinstance(value, datetime):
                return at(value)
            text = display_for_value(value, self.empty, getattr(attribute, "boolean", False))
            return conditional_escape(value if isinstance(value, SafeString) else text)
        value = getattr(row, self.name)
        if self.labels:
            label = self.labels.get(value, self.empty)
            return badge(value, label) if self.name in STATES and value in LOOKS else conditional_escape(label)
        if isinstance(value, datetime):
            return at(value)
        if isinstance(value, str | Model):
            text = str(value) if str(value).strip() else self.empty
            text = show_stored(text) if self.name in STORED else text
            return breakable(text) if isinstance(self.field, EmailField) else conditional_escape(text)
        return conditional_escape(display_for_field(value, self.field, self.empty))


class StaffList(ChangeList):
    @cached_property
    def headers(self) -> list[dict[str, Any]]:
        return list(result_headers(self))

    def rows(self) -> SafeString:
        """Return the HTML of the table's rows, in a fraction of the time that Django's own takes."""
        columns = [
            ListColumn(str(name), str(capfirst(header["text"])), self.model_admin)
            for name, header in zip(self.list_display, self.headers, strict=True)
        ]
        link = next(column for column in columns if not column.is_checkbox)
        address = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[0])
        before, _, after = add_preserved_filters(
            {"preserved_filters": self.preserved_filters, "opts": self.opts}, address
        ).partition("/0/change/")
        before, after = f"{before}/", conditional_escape(f"/change/{after}")
        parts = []
        for row in self.result_list:
            parts.append("<tr>")
            for column in columns:
                if column is link:
                    opened = f'<th class="field-{column.name}" scope="row"><a href="{before}{row.pk}{after}">'
                    parts += [opened, column.show(row), "</a></th>"]
                else:
                    parts += [f"<td{column.attributes}>", column.show(row), "</td>"]
            parts.append("</tr>\n")
        return mark_safe("".join(parts))  # noqa: S308 (each part is escaped)
