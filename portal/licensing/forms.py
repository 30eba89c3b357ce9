from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from licensing.models import (
    License,
    Licensee,
    LicenseTemplate,
    LicensingModel,
    LicensingProduct,
    ProductModule,
    Role,
    Token,
    VendorLogin,
)
from licensing.serializers import VOLUME
from merchants.forms import MomentInput
from merchants.models import Merchant
from merchants.numbers import MAX_NUMBER, validate_number

NUMBER_HELP = _("Your software refers to it by this number. You can’t change it later. Leave empty to generate one.")
PLAIN = {"autocomplete": "off"}


class NumberedForm(forms.ModelForm):
    """A form for a model with a number, which can only be set on creation."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            del self.fields["number"]
        else:
            self.fields["number"].help_text = NUMBER_HELP
            self.fields["number"].widget.attrs |= PLAIN

    def clean_number(self) -> str:
        number = self.cleaned_data["number"]
        others = type(self.instance)._default_manager.filter(merchant=self.instance.merchant, number=number)
        if number and others.exists():
            raise forms.ValidationError(gettext("This number is already in use."))
        return number


class LicensingProductForm(NumberedForm):
    class Meta:
        model = LicensingProduct
        fields = [
            *("name", "number", "version", "description", "licensing_info", "vat_mode"),
            *("licensee_auto_create", "clear_mark_on_validation", "active"),
        ]
        widgets = {
            "description": forms.Textarea(attrs={"rows": 3}),
            "licensing_info": forms.Textarea(attrs={"rows": 3}),
        }


class ModuleForm(NumberedForm):
    class Meta:
        model = ProductModule
        fields = [
            *("name", "number", "licensing_model", "max_checkout_validity", "yellow_threshold", "red_threshold"),
            *("node_secret_mode", "active"),
        ]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("licensing_model") == LicensingModel.FLOATING and not data.get("max_checkout_validity"):
            self.add_error("max_checkout_validity", gettext("A Floating module needs this value."))
        return data


class TemplateForm(NumberedForm):
    class Meta:
        model = LicenseTemplate
        fields = [
            *("name", "number", "license_type", "time_volume", "time_volume_period", "quantity", "max_sessions"),
            *("grace_period", "price", "currency", "automatic", "hidden", "hide_licenses", "active"),
        ]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        volume = VOLUME.get(data.get("license_type", ""))
        if volume and volume not in self.errors and data.get(volume) is None:
            self.add_error(volume, gettext("A template of this type needs this value."))
        return data


class LicenseeForm(forms.Form):
    product: forms.ModelChoiceField = forms.ModelChoiceField(None)
    name = forms.CharField(max_length=200, required=False, widget=forms.TextInput(attrs=PLAIN))
    number = forms.CharField(
        max_length=MAX_NUMBER,
        required=False,
        validators=[validate_number],
        widget=forms.TextInput(attrs=PLAIN),
        help_text=_("The customer enters it in the software. Leave empty to generate one."),
    )
    marked_for_transfer = forms.BooleanField(
        required=False,
        help_text=_(
            "Anyone who knows its number can move its licenses to their licensee. The new licensee gets no automatic"
            " licenses."
        ),
    )

    def __init__(self, merchant: Merchant, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.licensees = Licensee.objects.filter(merchant=merchant)
        products = LicensingProduct.objects.filter(merchant=merchant, active=True).order_by("name", "pk")
        self.fields["product"].queryset = products  # type: ignore[attr-defined]

    def clean_number(self) -> str:
        number = self.cleaned_data["number"]
        if number and self.licensees.with_number(number).exists():
            raise forms.ValidationError(gettext("Another licensee already has this number."))
        return number


class LicenseeNameForm(forms.Form):
    name = forms.CharField(max_length=200, required=False, widget=forms.TextInput(attrs=PLAIN))


class AddLicenseForm(forms.Form):
    template: forms.ModelChoiceField = forms.ModelChoiceField(None)
    start_date = forms.DateTimeField(
        required=False,
        widget=MomentInput,
        help_text=_("In your time zone. Leave empty to start when you add the license."),
    )
    parent_feature = forms.CharField(
        max_length=MAX_NUMBER,
        required=False,
        widget=forms.TextInput(attrs=PLAIN),
        help_text=_("Rental time volumes only: the number of the license to extend. Leave empty if there’s only one."),
    )

    def __init__(self, templates: QuerySet[LicenseTemplate], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["template"].queryset = templates  # type: ignore[attr-defined]


class LicenseForm(forms.ModelForm):
    class Meta:
        model = License
        fields = [
            *("name", "start_date", "time_volume", "time_volume_period", "quantity", "max_sessions"),
            *("grace_period", "parent_feature", "hidden"),
        ]
        widgets = {"start_date": MomentInput}
        help_texts = {"start_date": _("In your time zone.")}


def find_licensee(merchant: Merchant, number: str) -> Licensee:
    licensee = Licensee.objects.filter(merchant=merchant).with_number(number).first()
    if licensee is None:
        raise forms.ValidationError(gettext("You have no licensee with this number."))
    return licensee


class TransferForm(forms.Form):
    direction = forms.ChoiceField(
        choices=[("to", _("From this licensee to the other one")), ("from", _("From the other licensee to this one"))],
        widget=forms.RadioSelect,
        initial="to",
    )
    number = forms.CharField(
        label=_("Number of the other licensee"), max_length=MAX_NUMBER, widget=forms.TextInput(attrs=PLAIN)
    )

    def __init__(self, licensee: Licensee, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.licensee = licensee

    def clean_number(self) -> str:
        number = self.cleaned_data["number"]
        self.other = find_licensee(self.licensee.merchant, number)
        return number

    def get_target_and_source(self) -> tuple[Licensee, Licensee]:
        pair = (self.other, self.licensee)
        return pair if self.cleaned_data["direction"] == "to" else pair[::-1]


class MerchantForm(forms.Form):
    def __init__(self, merchant: Merchant, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.merchant = merchant


class VendorLoginForm(MerchantForm):
    name = forms.CharField(
        max_length=60,
        validators=[
            RegexValidator(r"\A[A-Za-z0-9._-]+\Z", _("Use only letters, digits, dots, hyphens and underscores."))
        ],
        widget=forms.TextInput(attrs=PLAIN),
    )

    def __init__(self, merchant: Merchant, *args: Any, **kwargs: Any) -> None:
        super().__init__(merchant, *args, **kwargs)
        self.fields["name"].help_text = gettext(
            "The software that uses it. The user name will be {slug}.[name]."
        ).format(slug=merchant.slug)

    def clean_name(self) -> str:
        name = self.cleaned_data["name"]
        if VendorLogin.objects.filter(user_name=f"{self.merchant.slug}.{name}").exists():
            raise forms.ValidationError(gettext("This name is or was already used for a login."))
        return name


class KeyForm(MerchantForm):
    name = forms.CharField(
        max_length=100, help_text=_("The software that uses it."), widget=forms.TextInput(attrs=PLAIN)
    )
    role = forms.ChoiceField(
        label=_("Permissions"),
        choices=lambda: [(role.value, f"{role.label} ({role.value.removeprefix('ROLE_APIKEY_')})") for role in Role],
        help_text=_("Each option includes the ones before it."),
    )
    licensee = forms.CharField(
        label=_("Restrict to licensee"),
        max_length=MAX_NUMBER,
        required=False,
        widget=forms.TextInput(attrs=PLAIN),
        help_text=_(
            "The number of the only licensee this key can validate and transfer to. Leave empty to allow all."
        ),
    )
    expiration_time = forms.DateTimeField(
        label=_("Expires at"),
        required=False,
        widget=MomentInput,
        help_text=_("In your time zone. Leave empty for no expiration."),
    )

    def clean_name(self) -> str:
        name = self.cleaned_data["name"]
        # Also keeps a page reload from creating the key again.
        if Token.objects.live().filter(merchant=self.merchant, token_type=Token.Type.APIKEY, name=name).exists():
            raise forms.ValidationError(gettext("Another API key already has this name."))
        return name

    def clean_licensee(self) -> Licensee | None:
        number = self.cleaned_data["licensee"]
        if not number:
            return None
        return find_licensee(self.merchant, number)

    def clean_expiration_time(self):
        moment = self.cleaned_data["expiration_time"]
        if moment and moment <= timezone.now():
            raise forms.ValidationError(gettext("Choose a time in the future."))
        return moment

    def token(self) -> Token:
        values = {name: self.cleaned_data[name] for name in ("name", "licensee", "expiration_time")}
        role = self.cleaned_data["role"]
        return Token(merchant=self.merchant, token_type=Token.Type.APIKEY, api_key_role=role, **values)
