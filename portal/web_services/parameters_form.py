"""The form for a web service's parameters: a list that is put together step by step and then saved."""

import re
from collections.abc import Iterator
from copy import copy
from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from fulfillment.sources.web_service.models import RequestParameter, WebService
from fulfillment.sources.web_service.parameters import CATALOG, Parameter, is_support_only
from outbound.masking import MASK

MAX_CONSTANTS = 20
MAX_ROWS = len(CATALOG) + 2 * MAX_CONSTANTS  # a longer list isn't from the page


class ParameterFields(forms.Form):
    """A parameter in the list. What was posted replaces the values given."""

    name = forms.CharField(
        label=_("Name in the request"),
        required=False,
        max_length=64,
        validators=RequestParameter._meta.get_field("name").validators,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, key: str, given: dict[str, Any], posted: Any, *, is_draft: bool) -> None:
        # A row that was just added, here or in another window, isn't in the form that was posted.
        if posted is not None and f"{key}-name" in posted:
            fields = self.base_fields.items()
            given = {
                name: field.widget.value_from_datadict(posted, {}, f"{key}-{name}") or "" for name, field in fields
            }
        data = None if posted is None or is_draft else {f"{key}-{name}": value for name, value in given.items()}
        super().__init__(data, prefix=key, initial=given)
        for field in self.fields.values():
            field.widget.attrs |= {"aria-label": f"{field.label}: {self.title}", "placeholder": field.label}

    title = ""


class ParameterRow(ParameterFields):
    """A parameter from the catalog."""

    def __init__(self, parameter: Parameter, saved: RequestParameter | None, posted: Any, *, is_draft: bool) -> None:
        self.parameter = parameter
        self.title = parameter.name
        given = {"name": saved.name if saved else parameter.name}
        super().__init__(parameter.name, given, posted, is_draft=is_draft)

    def make(self, values: dict[str, Any]) -> RequestParameter:
        return RequestParameter(parameter=self.parameter.name, name=values["name"].strip() or self.parameter.name)


class ConstantRow(ParameterFields):
    """A constant of the merchant's. A saved secret is never shown, and leaving the value empty keeps it."""

    value = forms.CharField(
        label=_("Value"),
        required=False,
        max_length=1000,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    is_secret = forms.BooleanField(label=_("Secret"), required=False)

    def __init__(self, key: str, saved: RequestParameter | None, posted: Any, *, is_draft: bool) -> None:
        self.saved = saved
        self.has_secret = bool(saved and saved.is_secret)
        self.title = str(saved or gettext("new constant"))
        given: dict[str, Any] = {"name": "", "value": "", "is_secret": False}
        if saved:
            value = "" if saved.is_secret else saved.constant
            given = {"name": saved.name, "value": value, "is_secret": saved.is_secret}
        super().__init__(key, given, posted, is_draft=is_draft)
        if self.has_secret:
            self.fields["value"].widget.attrs["placeholder"] = gettext("{mask} (leave empty to keep)").format(
                mask=MASK
            )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if (self.saved or data.get("value")) and not data.get("name") and "name" not in self.errors:
            self.add_error("name", gettext("Enter a name."))
        if self.has_secret and not data.get("value") and not data.get("is_secret"):
            self.add_error("value", gettext("Enter the value again. It was saved as a secret and can’t be shown."))
        return data

    def make(self, values: dict[str, Any]) -> RequestParameter | None:
        if not values["name"].strip():
            return None
        # Keep the row's primary key, for pages open in another window.
        made = copy(self.saved) if self.saved else RequestParameter()
        made.name = values["name"].strip()
        if values["value"] or not self.has_secret:
            made.constant, made.is_secret = values["value"], values["is_secret"]
        return made


class LockedRow:
    """A parameter that only support staff can change. It has no fields, so no POST can change it."""

    errors = ()

    def __init__(self, saved: RequestParameter) -> None:
        self.saved = saved
        self.parameter = CATALOG[saved.parameter]
        self.prefix = self.title = saved.parameter


class ParametersForm:
    """The parameters of a service, in order. `do` changes the list without saving: “add Email”, “up Email”, “down
    Email”, “remove Email”, “add constant”, or “show” for the preview and a search.

    The page posts `row` for each row in order, and `known` for each it was opened with, so that rows added in another
    window are kept.
    """

    def __init__(self, service: WebService, posted: Any = None, do: str = "") -> None:
        self.posted = posted
        self.saved = {row.parameter or f"constant-{row.pk}": row for row in service.parameters.all()}
        self.known = list(self.saved) if posted is None else posted.getlist("known")
        self.is_draft = bool(do)
        self.find = posted.get("find", "") if do == "show" else ""
        self.keys = list(self.saved) if posted is None else self._posted_keys()
        if self.is_draft:
            self._rearrange(*do.partition(" ")[::2])
        self.rows = [self._make_row(key) for key in self.keys]

    def _posted_keys(self) -> list[str]:
        keys = [key for key in dict.fromkeys(self.posted.getlist("row")) if self._can_be_sent(key)][:MAX_ROWS]
        from_elsewhere = [key for key, row in self.saved.items() if key not in self.known or is_support_only(row)]
        return list(dict.fromkeys([*keys, *from_elsewhere]))

    def _can_be_sent(self, key: str) -> bool:
        if key in CATALOG:
            return key in self.saved or not CATALOG[key].support_only
        return key in self.saved or bool(re.fullmatch(r"new-\d{1,3}", key))

    def _rearrange(self, what: str, key: str) -> None:
        if what == "add":
            new = next(f"new-{number}" for number in range(1000) if f"new-{number}" not in self.keys)
            key = new if key == "constant" else key
            if key not in self.keys and self._can_be_sent(key):
                self.keys.append(key)
        elif key in self.keys and what == "remove" and not self._is_locked(key):
            self.keys.remove(key)
        elif key in self.keys and what in {"up", "down"}:
            place = self.keys.index(key) + (1 if what == "down" else -1)
            self.keys.remove(key)
            self.keys.insert(max(place, 0), key)

    def _is_locked(self, key: str) -> bool:
        return key in CATALOG and CATALOG[key].support_only

    def _make_row(self, key: str) -> ParameterRow | ConstantRow | LockedRow:
        saved = self.saved.get(key)
        if saved and self._is_locked(key):
            return LockedRow(saved)
        if key in CATALOG:
            return ParameterRow(CATALOG[key], saved, self.posted, is_draft=self.is_draft)
        return ConstantRow(key, saved, self.posted, is_draft=self.is_draft)

    @property
    def has_errors(self) -> bool:
        return any(row.errors for row in self.rows)

    @property
    def takes_constants(self) -> bool:
        return sum(isinstance(row, ConstantRow) for row in self.rows) < MAX_CONSTANTS

    def choices(self) -> Iterator[Parameter]:
        """Yield the parameters of the catalog that aren't in the list, and that the search finds."""
        for parameter in CATALOG.values():
            text = f"{parameter.name} {parameter.description}".casefold()
            if parameter.name not in self.keys and self.find.strip().casefold() in text:
                yield parameter

    def is_valid(self) -> bool:
        if self.has_errors:
            return False
        taken: set[str] = set()
        constants = 0
        # What members can't change comes first, so that the error is at a row with fields.
        for row in sorted(self.rows, key=lambda row: isinstance(row, ParameterFields)):
            made = self._make(row)
            constants += bool(made and not made.parameter)
            if isinstance(row, ParameterFields) and made and made.name in taken:
                row.add_error("name", gettext("Another parameter has this name."))
            elif isinstance(row, ParameterFields) and constants > MAX_CONSTANTS:
                limit = gettext("You’ve reached the limit of {max_constants} constants.")
                row.add_error("name", limit.format(max_constants=MAX_CONSTANTS))
            if made:
                taken.add(made.name)
        return not self.has_errors

    def wanted(self) -> list[RequestParameter]:
        """Return the parameters to save or, of a draft or a form with errors, to show."""
        return [made for row in self.rows if (made := self._make(row))]

    def _make(self, row: ParameterRow | ConstantRow | LockedRow) -> RequestParameter | None:
        if isinstance(row, LockedRow):
            return row.saved
        return row.make(row.cleaned_data if row.is_bound and not row.errors else dict(row.initial))
