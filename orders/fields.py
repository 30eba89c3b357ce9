"""Fields for customers' e-mail addresses, including international ones, in the API and in forms."""

from django import forms
from rest_framework import serializers

from merchants.addresses import validate_international


class EmailField(serializers.EmailField):
    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        # Replaces DRF's validator, which accepts only ASCII before the @.
        self.validators = [*self.validators[:-1], validate_international]


class EmailFormField(forms.CharField):
    # Browsers reject international addresses in inputs of type "email".
    widget = forms.TextInput
    default_validators = [validate_international]

    def widget_attrs(self, widget) -> dict:
        return super().widget_attrs(widget) | {"inputmode": "email", "autocapitalize": "none", "spellcheck": "false"}
