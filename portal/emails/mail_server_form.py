from base64 import b64decode
from copy import copy
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key
from django import forms
from django.core.validators import RegexValidator
from django.db.models.functions import Now

from merchants.addresses import validate_mailable
from merchants.models import Merchant
from outbound.models import MailAccount

Kind = MailAccount.Kind
# What signs in by SMTP or HTTP can be no other.
PLAIN = RegexValidator(r"^[ -~]+$", "Only ASCII characters can be signed in with.")
OF_SERVER = ["host", "port", "user_name"]


class MailServerForm(forms.ModelForm):
    """Where mails go through. Secrets that were saved are not shown; left empty they stay as they are."""

    host = forms.CharField(
        required=False,
        validators=[RegexValidator(r"^[A-Za-z0-9.:-]+$", "Enter a host name, such as smtp.example.com.")],
        help_text="Of a mail server, such as smtp.example.com.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    port = forms.TypedChoiceField(
        choices=[(port, port) for port in MailAccount.PORTS],
        coerce=int,
        empty_value=None,
        required=False,
        help_text="Of a mail server.",
    )
    password = forms.CharField(
        label="Password or API key",
        required=False,
        strip=False,
        validators=[PLAIN],
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Of the user; at Postmark the server token, at Mailgun and SendGrid an API key. It is not shown"
        " again; leave it empty to keep the one that is saved.",
    )
    tracking_secret = forms.CharField(
        label="Secret of the provider’s webhook",
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="To learn what becomes of mails. At Postmark the user name and password you give the webhook, as"
        " user:password; at Mailgun the HTTP webhook signing key; at SendGrid the verification key.",
    )

    class Meta:
        model = MailAccount
        fields = ["kind", "sender", "host", "port", "security", "user_name"]
        widgets = {"user_name": forms.TextInput(attrs={"autocomplete": "off"})}

    def __init__(self, merchant: Merchant, saved: MailAccount | None, data: Any) -> None:
        self.saved = saved
        # A copy: what is typed in must not be taken for what is saved.
        super().__init__(data, instance=copy(saved) or MailAccount(merchant=merchant))
        self.fields["sender"].validators.append(validate_mailable)
        self.fields["user_name"].validators.append(PLAIN)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        kind = data.get("kind")
        if kind == Kind.SMTP:
            for name in OF_SERVER:
                if not data.get(name) and name not in self.errors:
                    self.add_error(name, "A mail server needs this.")
        else:
            data |= {"host": "", "port": None, "user_name": ""}

        # What was saved for one server must not be sent to another.
        same_kind = self.saved if self.saved and self.saved.kind == kind else None
        same_server = same_kind and all(getattr(same_kind, name) == data.get(name) for name in OF_SERVER)
        if not data.get("password"):
            data["password"] = same_kind.password if same_kind and same_server else ""
        if not data["password"]:
            self.add_error("password", "Enter it, please.")
        if not data.get("tracking_secret"):
            data["tracking_secret"] = same_kind.tracking_secret if same_kind else ""
        if problem := _find_fault(kind, data["tracking_secret"]):
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


def _find_fault(kind: str | None, secret: str) -> str:
    if not secret:
        return ""
    if kind == Kind.POSTMARK and not all(secret.partition(":")):
        return "Enter it as user:password."
    if kind in {Kind.MAILGUN, Kind.MAILGUN_EU} and not secret.isascii():
        return "A signing key of Mailgun has only ASCII characters."
    if kind == Kind.SENDGRID:
        try:
            load_der_public_key(b64decode(secret))
        except (ValueError, UnsupportedAlgorithm):
            return "This is not a verification key of SendGrid."
    return ""
