from typing import Any

from django import forms
from django.contrib.postgres.forms import SimpleArrayField

from merchants.addresses import validate_mailable
from pools.models import LicensePool

MOST_RECIPIENTS = 20


class RecipientsField(SimpleArrayField):
    def __init__(self, **kwargs: Any) -> None:
        address = forms.EmailField(validators=[validate_mailable])
        super().__init__(address, required=False, max_length=MOST_RECIPIENTS, **kwargs)


class PoolForm(forms.ModelForm):
    recipients = RecipientsField(
        help_text="Who is told when the stock runs low: e-mail addresses, separated by commas. Empty: all owners and"
        " managers.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    class Meta:
        model = LicensePool
        fields = ["name", "threshold", "reserve", "recipients"]
        widgets = {"name": forms.TextInput(attrs={"autocomplete": "off"})}

    def clean_name(self) -> str:
        name = self.cleaned_data["name"]
        if self.instance.merchant.pools.exclude(pk=self.instance.pk).filter(name=name).exists():
            raise forms.ValidationError("Another pool has this name.")
        return name
