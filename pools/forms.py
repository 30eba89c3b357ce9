from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from pools.reading import MAX_SIZE
from pools.spreadsheets import FIX, KEEP


class KeysForm(forms.Form):
    keys_required = True

    file = forms.FileField(
        required=False,
        allow_empty_file=True,
        help_text=_("Plain text with one key per line, or CSV. Can be gzipped. Up to 64 MiB."),
    )
    # Not stripped or validated here: the reader reports bad lines by number.
    text = forms.Field(
        label=_("Or paste keys"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 8, "autocomplete": "off", "spellcheck": "false"}),
    )

    def clean_file(self):
        file = self.cleaned_data["file"]
        if file and file.size > MAX_SIZE:
            raise forms.ValidationError(gettext("The file is larger than 64 MiB. Split it or compress it with gzip."))
        return file

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        given = bool(data.get("file")) + bool((data.get("text") or "").strip())
        if not self.errors and (given == 2 or (self.keys_required and not given)):
            raise forms.ValidationError(gettext("Choose a file of up to 64 MiB, or paste keys."))
        return data

    def content(self) -> dict[str, Any]:
        if file := self.cleaned_data["file"]:
            return {"content": file.chunks(), "file_name": file.name}
        text = self.cleaned_data["text"].encode(errors="replace")
        return {"content": [text], "options": {"encoding": "utf-8"}}


class UploadForm(KeysForm):
    note = forms.CharField(max_length=500, required=False, help_text=_("Optional. Helps you find this import later."))

    def content(self) -> dict[str, Any]:
        return super().content() | {"note": self.cleaned_data["note"]}


class StaffUploadForm(UploadForm):
    """Imports without a preview, so it includes the choices that the preview would offer."""

    column = forms.IntegerField(
        min_value=1,
        max_value=1000,
        required=False,
        help_text=_("The column of a table that contains the keys, from 1. Leave empty to detect it."),
    )
    spreadsheet = forms.ChoiceField(
        label=_("Spreadsheet formatting"),
        choices=[("", _("Warn about it")), (FIX, _("Remove it")), (KEEP, _("Keep it, including shortened numbers"))],
        required=False,
        help_text=_('Such as ="0012", \'0012 or 1234.0.'),
    )

    def content(self) -> dict[str, Any]:
        content = super().content()
        chosen = {name: self.cleaned_data[name] for name in ("column", "spreadsheet") if self.cleaned_data[name]}
        return content | {"options": content.get("options", {}) | chosen}
