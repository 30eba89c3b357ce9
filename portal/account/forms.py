"""allauth's forms in our words: a label for each field instead of placeholders, and what browsers fill in."""

from allauth.account import forms as account
from allauth.account.adapter import get_adapter
from allauth.mfa.adapter import get_adapter as get_mfa_adapter
from allauth.mfa.base import forms as mfa
from allauth.mfa.totp import forms as totp
from allauth.mfa.webauthn import forms as webauthn
from django.conf import settings
from django.core.cache import cache

from delivery.link_requests import request_mail
from merchants.addresses import validate_mailable


class Plain:
    labels: dict[str, str] = {}
    helps: dict[str, str] = {}
    attributes: dict[str, dict[str, str]] = {}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():  # type: ignore[attr-defined]
            field.widget.attrs.pop("placeholder", None)
            field.widget.attrs |= self.attributes.get(name, {})
            field.label = self.labels.get(name, field.label)
            field.help_text = self.helps.get(name, field.help_text)


class LoginForm(Plain, account.LoginForm):
    labels = {"login": "E-mail address", "password": "Password"}
    helps = {"password": ""}  # the link stands below the button, out of the way of the tab key
    attributes = {"login": {"autocomplete": "username", "autofocus": ""}}


class ReauthenticateForm(Plain, account.ReauthenticateForm):
    attributes = {"password": {"autofocus": ""}}


class ChangePasswordForm(Plain, account.ChangePasswordForm):
    labels = {"oldpassword": "Current password", "password1": "New password", "password2": "New password, again"}


class SetPasswordForm(Plain, account.SetPasswordForm):
    labels = {"password1": "Password", "password2": "Password, again"}


class ResetPasswordForm(Plain, account.ResetPasswordForm):
    labels = {"email": "E-mail address"}
    attributes = {"email": {"autocomplete": "username"}}

    def clean_email(self):
        validate_mailable(self.cleaned_data["email"])
        return self.cleaned_data["email"]

    def save(self, request, **kwargs):
        # A worker looks for the account: how long the answer takes must not tell who has one.
        email = self.cleaned_data["email"]
        request_mail(None, email, source=get_adapter(request).get_client_ip(request))
        return email


class ResetPasswordKeyForm(Plain, account.ResetPasswordKeyForm):
    labels = {"password1": "New password", "password2": "New password, again"}


class CodeForm(Plain, mfa.BaseAuthenticateForm):
    helps = {"code": "From your authenticator app, or one of your recovery codes."}
    attributes = {"code": {"inputmode": "numeric", "autofocus": ""}}

    def clean_code(self):
        code = super().clean_code()
        # allauth forgets after one step that a code was used; with tolerance, it is good for three.
        steps = 2 * settings.MFA_TOTP_TOLERANCE + 1
        digits = "".join(filter(str.isdigit, code))
        if not cache.add(f"code-used-{self.user.pk}-{digits}", True, timeout=steps * 30):
            raise get_mfa_adapter().validation_error("incorrect_code")
        return code


class AuthenticateForm(CodeForm, mfa.AuthenticateForm):
    pass


class ReauthenticateByCodeForm(CodeForm, mfa.ReauthenticateForm):
    pass


class ActivateTOTPForm(Plain, totp.ActivateTOTPForm):
    labels = {"code": "Code from the app"}
    attributes = {"code": {"inputmode": "numeric"}}


class AddPasskeyForm(Plain, webauthn.AddWebAuthnForm):
    labels = {"name": "Name", "passwordless": "Sign in with it alone, without a password"}
    helps = {
        "name": "So that you recognize it in a list, for example “Laptop”.",
        "passwordless": "It asks for your fingerprint, face or PIN then. Otherwise it is a second factor only.",
    }

    def __init__(self, *args, **kwargs):
        kwargs["initial"] = {"passwordless": True} | kwargs.get("initial", {})
        super().__init__(*args, **kwargs)
