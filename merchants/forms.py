"""Forms that the portal, the admin and commands share."""

from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from merchants.addresses import validate_mailable
from merchants.models import ApiKey, Merchant
from merchants.networks import read_networks
from merchants.onboarding import MerchantExists, refuse_used_name
from merchants.sandbox import get_sandbox
from merchants.text import validate_visible


class NewMerchantForm(forms.ModelForm):
    owner = forms.EmailField(
        label=_("Owner’s e-mail address"),
        validators=[validate_mailable],
        help_text=_("Gets an invitation to create an account."),
    )

    class Meta:
        model = Merchant
        fields = ["name", "owner", "language"]

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        validate_visible(name)
        try:
            refuse_used_name(name)
        except MerchantExists as error:
            raise forms.ValidationError(str(error)) from error
        return name


class MomentInput(forms.DateTimeInput):
    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%dT%H:%M")


class NetworksField(forms.CharField):
    """A list of IP addresses and networks, edited as text."""

    widget = forms.Textarea(attrs={"rows": 3, "autocomplete": "off", "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[str]:  # type: ignore[override]
        return read_networks(super().to_python(value) or "")

    def run_validators(self, value: Any) -> None:
        """Skip those of a text: it has become a list."""


class ApiKeyForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(
        label=_("Permissions"),
        choices=ApiKey.Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        initial=ApiKey.Scope.values,
        error_messages={"required": _("Choose at least one permission.")},
    )
    expires_at = forms.DateTimeField(
        label=_("Expires at"),
        required=False,
        widget=MomentInput,
        help_text=_("In your time zone. Leave empty for no expiration."),
    )
    allowed_networks = NetworksField(
        label=_("Allowed addresses"),
        required=False,
        help_text=_(
            "IP addresses and networks that may use the key, one per line, such as 192.0.2.10 or 2001:db8::/32. Leave"
            " empty to allow all."
        ),
    )

    test = forms.BooleanField(
        label=_("Test key"),
        required=False,
        help_text=_("Orders reported with it are tests. Its text starts with kw_test_."),
    )

    class Meta:
        model = ApiKey
        fields = ["name", "test", "scopes", "expires_at", "allowed_networks"]
        widgets = {"name": forms.TextInput(attrs={"autocomplete": "off"})}

    def clean_name(self) -> str:
        validate_visible(self.cleaned_data["name"])  # histories show it
        return str(self.cleaned_data["name"])

    def clean_expires_at(self) -> Any:
        expires_at = self.cleaned_data["expires_at"]
        if "expires_at" in self.changed_data and expires_at and expires_at <= timezone.now():
            raise forms.ValidationError(gettext("Enter a time in the future. To end a key now, revoke it."))
        return expires_at

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        merchant = data.get("merchant") or (self.instance.merchant if self.instance.merchant_id else None)
        if data.pop("test", False) and merchant:
            merchant = get_sandbox(merchant)
        if merchant:
            self.instance.merchant = merchant
        if "merchant" in data:
            data["merchant"] = merchant
        if merchant and ApiKey.objects.with_name(merchant, data.get("name", "")).exclude(pk=self.instance.pk).exists():
            self.add_error("name", gettext("Another API key already has this name."))
        return data
