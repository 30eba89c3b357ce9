from base64 import b64decode
from copy import copy
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key
from django import forms
from django.core.validators import RegexValidator
from django.db.models.functions import Now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from merchants.addresses import validate_mailable
from merchants.logos import draw_logo
from merchants.models import EmailTemplate, Merchant
from outbound.models import MailAccount


class EmailTextForm(forms.ModelForm):
    class Meta:
        model = EmailTemplate
        fields = ["subject", "body"]
        widgets = {
            "subject": forms.TextInput(attrs={"autocomplete": "off"}),
            "body": forms.Textarea(attrs={"rows": 16}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["body"].required = True

    def clean_body(self) -> str:
        return self.cleaned_data["body"].replace("\r\n", "\n")


class SenderForm(forms.ModelForm):
    logo_file = forms.FileField(
        label=_("New logo"),
        required=False,
        help_text=_("PNG, JPEG, GIF or WebP, up to 2 MB. Shown at up to 240 × 80 pixels on a white background."),
        widget=forms.FileInput(attrs={"accept": "image/png,image/jpeg,image/gif,image/webp"}),
    )
    remove_logo = forms.BooleanField(label=_("Remove logo"), required=False)

    class Meta:
        model = Merchant
        fields = ["sender_name", "reply_to"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance.logo_id:
            del self.fields["remove_logo"]

    def clean_logo_file(self):
        file = self.cleaned_data["logo_file"]
        return draw_logo(file) if file else None

    def save_by(self, actor: str) -> Merchant:
        """Save changed fields. Old logos are kept because sent e-mails still show them."""
        merchant = self.instance
        changed = [name for name in self.changed_data if name in self.Meta.fields]
        if logo := self.cleaned_data["logo_file"]:
            logo.merchant, logo.saved_by = merchant, actor
            logo.save()
            merchant.logo = logo
            changed.append("logo")
        elif self.cleaned_data.get("remove_logo"):
            merchant.logo = None
            changed.append("logo")
        merchant.save(update_fields=changed)
        return merchant


Kind = MailAccount.Kind
# SMTP and HTTP authentication accept only ASCII.
ASCII = RegexValidator(r"^[ -~]+$", _("Use only ASCII characters."))
SERVER_FIELDS = ["host", "port", "user_name"]


class MailServerForm(forms.ModelForm):
    """The mail account. Saved secrets aren't shown; empty fields keep them."""

    host = forms.CharField(
        required=False,
        validators=[RegexValidator(r"^[A-Za-z0-9.:-]+$", _("Enter a host name, for example smtp.example.com."))],
        help_text=_("For mail servers, for example smtp.example.com."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    port = forms.TypedChoiceField(
        choices=[(port, port) for port in MailAccount.PORTS],
        coerce=int,
        empty_value=None,
        required=False,
        help_text=_("For mail servers."),
    )
    password = forms.CharField(
        label=_("Password or API key"),
        required=False,
        strip=False,
        validators=[ASCII],
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_(
            "The user’s password. For Postmark, the server token; for Mailgun and SendGrid, an API key. Leave"
            " empty to keep the saved one."
        ),
    )
    tracking_secret = forms.CharField(
        label=_("Provider’s webhook secret"),
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_(
            "For delivery tracking. Postmark: the webhook’s user name and password, as user:password. Mailgun:"
            " the HTTP webhook signing key. SendGrid: the verification key."
        ),
    )

    class Meta:
        model = MailAccount
        fields = ["kind", "sender", "host", "port", "security", "user_name"]
        widgets = {"user_name": forms.TextInput(attrs={"autocomplete": "off"})}

    def __init__(self, merchant: Merchant, saved: MailAccount | None, data: Any) -> None:
        self.saved = saved
        # A copy, so that form input can't change the saved account.
        super().__init__(data, instance=copy(saved) or MailAccount(merchant=merchant))
        self.fields["sender"].validators.append(validate_mailable)
        self.fields["user_name"].validators.append(ASCII)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        kind = data.get("kind")
        if kind == Kind.SMTP:
            for name in SERVER_FIELDS:
                if not data.get(name) and name not in self.errors:
                    self.add_error(name, gettext("A mail server needs this value."))
        else:
            data |= {"host": "", "port": None, "user_name": ""}

        # Never send a password saved for one server to another.
        same_kind = self.saved if self.saved and self.saved.kind == kind else None
        same_server = same_kind and all(getattr(same_kind, name) == data.get(name) for name in SERVER_FIELDS)
        if not data.get("password"):
            data["password"] = same_kind.password if same_kind and same_server else ""
        if not data["password"]:
            self.add_error("password", gettext("Enter the password or API key."))
        if not data.get("tracking_secret"):
            data["tracking_secret"] = same_kind.tracking_secret if same_kind else ""
        if problem := _check_tracking_secret(kind, data["tracking_secret"]):
            self.add_error("tracking_secret", problem)
        return data

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if self.is_valid():
            data = self.cleaned_data
            self.instance.keep(password=data["password"], tracking_secret=data["tracking_secret"])

    def save_by(self, actor: str) -> None:
        account = self.instance
        fields = [*self.Meta.fields, "credentials"]
        MailAccount.objects.update_or_create(
            merchant=account.merchant,
            defaults={name: getattr(account, name) for name in fields}
            | {"saved_by": actor, "tested_at": Now(), "reason": ""},
        )


def _check_tracking_secret(kind: str | None, secret: str) -> str:
    if not secret:
        return ""
    if kind == Kind.POSTMARK and not all(secret.partition(":")):
        return gettext("Enter it as user:password.")
    if kind in {Kind.MAILGUN, Kind.MAILGUN_EU} and not secret.isascii():
        return gettext("Mailgun signing keys contain only ASCII characters.")
    if kind == Kind.SENDGRID:
        try:
            load_der_public_key(b64decode(secret))
        except (ValueError, UnsupportedAlgorithm):
            return gettext("This isn’t a SendGrid verification key.")
    return ""
