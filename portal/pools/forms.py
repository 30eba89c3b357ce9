from typing import Any

from django import forms
from django.contrib.postgres.forms import SimpleArrayField
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from merchants.addresses import validate_mailable
from pools.models import LicensePool
from pools.reading import DELIMITERS, ENCODINGS

MAX_RECIPIENTS = 20


class RecipientsField(SimpleArrayField):
    def __init__(self, **kwargs: Any) -> None:
        address = forms.EmailField(validators=[validate_mailable])
        super().__init__(address, required=False, max_length=MAX_RECIPIENTS, **kwargs)


class PoolForm(forms.ModelForm):
    recipients = RecipientsField(
        help_text=_(
            "E-mail addresses that get a notice when the stock runs low, separated by commas. Leave empty to"
            " notify all owners and managers."
        ),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    class Meta:
        model = LicensePool
        fields = ["name", "threshold", "reserve", "recipients"]
        widgets = {"name": forms.TextInput(attrs={"autocomplete": "off"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.live_id:
            # A test pool has the name of its live pool, and nobody waits for its reserve.
            del self.fields["name"], self.fields["reserve"]

    def clean_name(self) -> str:
        name = self.cleaned_data["name"]
        if self.instance.merchant.pools.exclude(pk=self.instance.pk).filter(name=name).exists():
            raise forms.ValidationError(gettext("Another pool already has this name."))
        return name


SPLITS = {
    "lines": _("One key per line"),
    "empty lines": _("Empty lines between keys"),
    "blocks": _("Blocks with begin and end lines, such as -----BEGIN LICENSE-----"),
    "separator lines": _("Lines with a separator between keys"),
    "separators": _("A separator anywhere in the text"),
}


def for_form(options: dict[str, Any]) -> dict[str, Any]:
    return options | ({"header": "yes" if options["header"] else "no"} if "header" in options else {})


class ReadingForm(forms.Form):
    encoding = forms.ChoiceField(choices=ENCODINGS.items(), required=False)
    format = forms.ChoiceField(choices=[("text", _("Text")), ("csv", _("Table (CSV)"))], required=False)
    split = forms.ChoiceField(label=_("Text: split keys by"), choices=SPLITS.items(), required=False)
    separator = forms.CharField(required=False, max_length=100, help_text=_("For example --- or ;"))
    delimiter = forms.ChoiceField(label=_("Table: columns separated by"), choices=DELIMITERS.items(), required=False)
    column = forms.TypedChoiceField(label=_("Table: column with keys"), coerce=int, required=False, empty_value=None)
    header = forms.TypedChoiceField(
        label=_("Table: first row"),
        choices=[("yes", _("Headings")), ("no", _("A key"))],
        coerce=lambda value: value == "yes",
        required=False,
        empty_value=None,
    )

    spreadsheet = forms.ChoiceField(
        label=_('Spreadsheet formatting (="0012", \'0012, 1234.0)'),
        choices=[("fix", _("Remove it")), ("keep", _("Keep it, including numbers such as 1.23E+15"))],
        required=False,
    )

    def __init__(self, *args, read_as: dict[str, Any], columns: list[str], **kwargs) -> None:
        super().__init__(*args, **kwargs)
        columns = columns or [str(number) for number in range(1, 31)]
        for name, field in self.fields.items():
            if isinstance(field, forms.ChoiceField):
                choices: dict[Any, Any] = dict(enumerate(columns, 1)) if name == "column" else dict(field.choices)  # type: ignore[arg-type]
                label = choices.get(for_form(read_as).get(name))
                detect = gettext("Detect ({choice})").format(choice=label) if label else gettext("Detect")
                field.choices = [("", detect), *choices.items()]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("split", "").startswith("separator") and not data.get("separator"):
            self.add_error("separator", gettext("Enter the separator."))
        return data

    def options(self) -> dict[str, Any]:
        return {name: value for name, value in self.cleaned_data.items() if value not in ("", None)}
