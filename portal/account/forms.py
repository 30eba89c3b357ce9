"""allauth's forms with labels instead of placeholders, and with autocomplete attributes."""

from typing import Any

from allauth.account import forms as account
from allauth.account.adapter import get_adapter
from allauth.mfa.adapter import get_adapter as get_mfa_adapter
from allauth.mfa.base import forms as mfa
from allauth.mfa.totp import forms as totp
from allauth.mfa.webauthn import forms as webauthn
from django.conf import settings
from django.core.cache import cache
from django.utils.translation import gettext_lazy as _

from delivery.link_requests import request_mail
from merchants.addresses import validate_mailable


class Labeled:
    labels: dict[str, Any] = {}
    helps: dict[str, Any] = {}
    attributes: dict[str, dict[str, str]] = {}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():  # type: ignore[attr-defined]
            field.widget.attrs.pop("placeholder", None)
            field.widget.attrs |= self.attributes.get(name, {})
            field.label = self.labels.get(name, field.label)
            field.help_text = self.helps.get(name, field.help_text)


class LoginForm(Labeled, account.LoginForm):
    labels: dict[str, Any] = {"login": _("E-mail address"), "password": _("Password")}
    helps: dict[str, Any] = {"password": ""}  # the page has the link below the button, so Tab skips it
    attributes = {"login": {"autocomplete": "username", "autofocus": ""}}


class ReauthenticateForm(Labeled, account.ReauthenticateForm):
    attributes = {"password": {"autofocus": ""}}


class ChangePasswordForm(Labeled, account.ChangePasswordForm):
    labels: dict[str, Any] = {
        "oldpassword": _("Current password"),
        "password1": _("New password"),
        "password2": _("Confirm new password"),
    }


class SetPasswordForm(Labeled, account.SetPasswordForm):
    labels: dict[str, Any] = {"password1": _("Password"), "password2": _("Confirm password")}


class ResetPasswordForm(Labeled, account.ResetPasswordForm):
    labels: dict[str, Any] = {"email": _("E-mail address")}
    attributes = {"email": {"autocomplete": "username"}}

    def clean_email(self):
        validate_mailable(self.cleaned_data["email"])
        return self.cleaned_data["email"]

    def save(self, request, **kwargs):
        # A worker looks up the account, so the response time doesn't reveal whether it exists.
        email = self.cleaned_data["email"]
        request_mail(None, email, source=get_adapter(request).get_client_ip(request))
        return email


class ResetPasswordKeyForm(Labeled, account.ResetPasswordKeyForm):
    labels: dict[str, Any] = {"password1": _("New password"), "password2": _("Confirm new password")}


class CodeForm(Labeled, mfa.BaseAuthenticateForm):
    helps: dict[str, Any] = {"code": _("Enter the code from your authenticator app or a recovery code.")}
    attributes = {"code": {"inputmode": "numeric", "autofocus": ""}}

    def clean_code(self):
        code = super().clean_code()
        # allauth blocks a used code for one step only, but with the tolerance it stays valid for three.
        steps = 2 * settings.MFA_TOTP_TOLERANCE + 1
        digits = "".join(filter(str.isdigit, code))
        if not cache.add(f"code-used-{self.user.pk}-{digits}", True, timeout=steps * 30):
            raise get_mfa_adapter().validation_error("incorrect_code")
        return code


class AuthenticateForm(CodeForm, mfa.AuthenticateForm):
    pass


class ReauthenticateByCodeForm(CodeForm, mfa.ReauthenticateForm):
    pass


class ActivateTOTPForm(Labeled, totp.ActivateTOTPForm):
    labels: dict[str, Any] = {"code": _("Code from the app")}
    attributes = {"code": {"inputmode": "numeric"}}


class AddPasskeyForm(Labeled, webauthn.AddWebAuthnForm):
    labels: dict[str, Any] = {"name": _("Name"), "passwordless": _("Sign in without a password")}
    helps: dict[str, Any] = {
        "name": _("Helps you recognize it in the list, for example “Laptop”."),
        "passwordless": _("It will ask for your fingerprint, face or PIN. Otherwise, it’s only a second factor."),
    }

    def __init__(self, *args, **kwargs):
        kwargs["initial"] = {"passwordless": True} | kwargs.get("initial", {})
        super().__init__(*args, **kwargs)
