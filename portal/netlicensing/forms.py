"""Forms for licensing accounts and license packages."""

from collections.abc import Iterator
from copy import copy
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from fulfillment.sources.netlicensing.models import (
    MAX_NUMBER,
    LicensePackage,
    LicensingAccount,
    PackagedTemplate,
    validate_number,
)
from outbound.address_guard import OutgoingRequestError, check

MAX_TEMPLATES = 20
EMPTY_ROWS = 3  # for new templates


class AccountForm(forms.ModelForm):
    """An account at Keywell's own service, or at another one with a URL and an API key.

    A saved key is never shown. Leaving the field empty keeps it, as long as the server stays the same.
    """

    place = forms.ChoiceField(
        label=_("Licensing service"),
        choices=[("own", _("Keywell’s own service")), ("other", _("Another service"))],
        widget=forms.RadioSelect,
    )
    api_key = forms.CharField(
        label=_("API key"),
        required=False,
        max_length=200,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_(
            "Requires the role ROLE_APIKEY_OPERATION or higher. Stored encrypted and never shown again. Leave"
            " empty to keep the saved key."
        ),
    )

    field_order = ("name", "place", "address", "api_key", "timeout")

    class Meta:
        model = LicensingAccount
        fields = ["name", "address", "api_key", "timeout"]
        labels = {"timeout": _("Time limit in seconds")}
        help_texts = {
            "name": _("Only you see this name."),
            "address": _("Base URL of the service’s REST API, such as https://go.netlicensing.io/core/v2/rest."),
            "timeout": _("1 to 20 seconds for each answer. After that, we retry later."),
        }
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "off"}),
            "address": forms.URLInput(attrs={"autocomplete": "off", "placeholder": "https://"}),
            "timeout": forms.NumberInput(attrs={"min": 1, "max": 20}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.saved = copy(self.instance) if self.instance.pk else None
        self.initial["api_key"] = ""
        self.initial["place"] = "other" if self.saved and not self.saved.is_own else "own"

    def clean_address(self) -> str:
        address = self.cleaned_data["address"].rstrip("/")
        if not address or self.cleaned_data.get("place") != "other":
            return ""
        try:
            check(address)
        except OutgoingRequestError as error:
            raise forms.ValidationError(str(error)) from error
        if "#" in address or "?" in address:
            raise forms.ValidationError(gettext("Remove the ? or # and everything after it."))
        return address

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        others = self.instance.merchant.licensing_accounts.exclude(pk=self.instance.pk)
        if others.filter(name=data.get("name")).exists():
            self.add_error("name", gettext("Another account has this name."))
        if data.get("place") == "other":
            self._clean_other(data)
        else:
            data["api_key"] = self.saved.api_key if self.saved and self.saved.is_own else ""
        return data

    def _clean_other(self, data: dict[str, Any]) -> None:
        if not data.get("address"):
            if "address" not in self.errors:
                self.add_error("address", gettext("Enter the URL of the service."))
            return
        if data.get("api_key"):
            return
        if self.saved is None or urlsplit(self.saved.address)[:2] != urlsplit(data["address"])[:2]:
            self.add_error("api_key", gettext("Enter the key for this server."))
        else:
            data["api_key"] = self.saved.api_key


class TemplateRow(NamedTuple):
    number: forms.BoundField
    quantity: forms.BoundField


class PackageForm(forms.ModelForm):
    """A license package with its templates, in the order of the rows. Empty rows are ignored."""

    class Meta:
        model = LicensePackage
        fields = ["name", "product_number", "start_date"]
        labels = {"start_date": _("License start")}
        help_texts = {
            "name": _("Only you see this name."),
            "product_number": _("Number in the licensing service, such as P001."),
        }
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "off"}),
            "product_number": forms.TextInput(attrs={"autocomplete": "off", "list": "product-numbers"}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        saved = list(self.instance.templates.all()) if self.instance.pk else []
        self.count = min(len(saved) + EMPTY_ROWS, MAX_TEMPLATES)
        for index in range(self.count):
            row = saved[index] if index < len(saved) else None
            self.fields[f"template_{index}"] = forms.CharField(
                label=gettext("Template {number}").format(number=index + 1),
                required=False,
                max_length=MAX_NUMBER,
                validators=[validate_number],
                initial=row.number if row else "",
                widget=forms.TextInput(attrs={"autocomplete": "off", "list": "template-numbers"}),
            )
            self.fields[f"quantity_{index}"] = forms.IntegerField(
                label=gettext("Quantity {number}").format(number=index + 1),
                required=False,
                min_value=1,
                max_value=100,
                initial=row.quantity if row else 1,
            )

    def rows(self) -> Iterator[TemplateRow]:
        for index in range(self.count):
            yield TemplateRow(self[f"template_{index}"], self[f"quantity_{index}"])

    def clean_name(self) -> str:
        name = self.cleaned_data["name"]
        if self.instance.merchant.license_packages.exclude(pk=self.instance.pk).filter(name=name).exists():
            raise forms.ValidationError(gettext("Another package has this name."))
        return name

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if not self.errors and not self.wanted():
            raise ValidationError(gettext("Enter at least one template."))
        return data

    def wanted(self) -> list[tuple[str, int]]:
        """Return template numbers with quantities."""
        data = self.cleaned_data
        return [
            (number, data.get(f"quantity_{index}") or 1)
            for index in range(self.count)
            if (number := data.get(f"template_{index}"))
        ]

    def save(self, commit: bool = True) -> LicensePackage:
        """Save the package with its templates, in the caller's transaction."""
        package = super().save()
        package.templates.all().delete()
        PackagedTemplate.objects.bulk_create(
            PackagedTemplate(package=package, position=position, number=number, quantity=quantity)
            for position, (number, quantity) in enumerate(self.wanted(), 1)
        )
        return package
