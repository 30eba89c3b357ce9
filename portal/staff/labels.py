"""Names for the admin's fields that Django shows without a label: in tables, and as pairs of date and time."""

from typing import Any

from django import forms
from django.utils.translation import gettext, gettext_noop

# Django's own texts, which it doesn't have in German.
gettext_noop("Reset password")
gettext_noop("Set password")
gettext_noop("Set password: %s")
gettext_noop("Enabled")
gettext_noop("Disabled")
gettext_noop("Enable password-based authentication")
gettext_noop("Disable password-based authentication")
gettext_noop("Password-based authentication")
gettext_noop("Password-based authentication was disabled.")
gettext_noop("Conflicting form data submitted. Please try again.")
gettext_noop("After you’ve created a user, you’ll be able to edit more user options.")
gettext_noop("This action will <strong>enable</strong> password-based authentication for this user.")
gettext_noop("Raw passwords are not stored, so there is no way to see the user’s password.")
gettext_noop("Enable password-based authentication for this user by setting a password.")
gettext_noop(
    "Whether the user will be able to authenticate using a password or not. If disabled, they may still be able to"
    " authenticate using other backends, such as Single Sign-On or LDAP."
)


class NamedFields:
    """A ModelAdmin or an inline whose fields all have a name."""

    def get_form(self, request, obj=None, change=False, **kwargs):
        form = super().get_form(request, obj, change=change, **kwargs)  # type: ignore[misc]

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            form.__init__(self, *args, **kwargs)
            label_fields(self)

        return type(form.__name__, (form,), {"__init__": __init__, "__module__": form.__module__})

    def get_formset(self, request, obj=None, **kwargs):
        formset = super().get_formset(request, obj, **kwargs)  # type: ignore[misc]

        def add_fields(self, form: Any, index: int) -> None:
            formset.add_fields(self, form, index)
            label_fields(form)

        return type(formset.__name__, (formset,), {"add_fields": add_fields})


def label_fields(form: Any) -> None:
    for name, field in form.fields.items():
        widget, label = getattr(field.widget, "widget", field.widget), str(field.label or name)
        if isinstance(widget, forms.SplitDateTimeWidget):
            for part, unit in zip(widget.widgets, (gettext("date"), gettext("time")), strict=True):
                part.attrs["aria-label"] = f"{label}, {unit}"
        elif not widget.is_hidden and not isinstance(widget, forms.RadioSelect):  # its choices have names of their own
            widget.attrs.setdefault("aria-label", label)
