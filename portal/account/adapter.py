import base64
import hashlib
import logging
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.core.internal import ratelimit
from allauth.mfa.adapter import DefaultMFAAdapter
from cryptography.fernet import Fernet
from django.conf import settings
from django.shortcuts import render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from outbound.mail import MailError, compose_plain, send_email
from portal.account import devices
from vault.fingerprints import load_key

log = logging.getLogger(__name__)


# Account changes that users are notified of by e-mail.
CHANGES = {
    "account/email/password_changed": _("Your password was changed"),
    "account/email/password_reset": _("Your password was reset"),
    "account/email/password_set": _("A password was set for your account"),
    "mfa/email/totp_activated": _("An authenticator app was added to your account"),
    "mfa/email/totp_deactivated": _("The authenticator app was removed from your account"),
    "mfa/email/webauthn_added": _("A passkey was added to your account"),
    "mfa/email/webauthn_removed": _("A passkey was removed from your account"),
    "mfa/email/recovery_codes_generated": _("New recovery codes were generated for your account"),
}


class AccountAdapter(DefaultAccountAdapter):
    error_messages = DefaultAccountAdapter.error_messages | {
        "email_password_mismatch": _("Wrong e-mail address or password."),
        "enter_current_password": _("That’s not your current password."),
        "incorrect_password": _("That’s not your password."),
        "too_many_login_attempts": _("Too many failed attempts. Please try again in 15 minutes."),
        "rate_limited": _("Too many failed attempts. Please try again in 15 minutes."),
    }

    def is_open_for_signup(self, request):
        return False

    def _get_login_attempts_cache_key(self, request, **credentials):
        # allauth's key includes the Host header, so an attacker could reset the count by changing the port in it.
        email = credentials["email"].lower()
        return f"{email} {devices.recognize(request, email) or ratelimit.get_ip(request)}"

    def pre_authenticate(self, request, **credentials):
        # Failed attempts from unknown devices lock out unknown devices only, never ones that signed in before.
        if not self._count_unknown_device(request, credentials["email"], dry_run=True):
            raise self.validation_error("too_many_login_attempts")
        super().pre_authenticate(request, **credentials)

    def authentication_failed(self, request, **credentials):
        self._count_unknown_device(request, credentials["email"])

    def _count_unknown_device(self, request, email, *, dry_run=False):
        limit = self._unknown_device_limit(email)
        return devices.recognize(request, limit["key"]) or ratelimit.consume(request, **limit, dry_run=dry_run)

    @staticmethod
    def _unknown_device_limit(email: str) -> dict:
        """Rate limit of failed attempts from devices the user never signed in with."""
        limit = {"login_failed": settings.LOGIN_FAILED_BY_STRANGERS}
        return {"app": "portal", "action": "login_failed", "config": limit, "key": email.lower()}

    def post_login(self, request, user, **kwargs):
        response = super().post_login(request, user, **kwargs)
        devices.remember(response, user.email)
        return response

    def set_password(self, user, password):
        super().set_password(user, password)
        # A new password ends the lockout.
        self._delete_login_attempts_cached_email(self.request, email=user.email)
        ratelimit.clear(self.request, **self._unknown_device_limit(user.email))

    def get_reauthentication_methods(self, user):
        methods = super().get_reauthentication_methods(user)
        for method in methods:
            if method["id"] == "mfa_reauthenticate:webauthn":
                method["description"] = gettext("Use a passkey")
        return methods

    def get_reset_password_from_key_url(self, key):
        # Not the request's Host header, which an attacker could set to steal the link.
        return settings.BASE_URL + urlsplit(super().get_reset_password_from_key_url(key)).path

    def send_mail(self, template_prefix, email, context):
        """Send an e-mail that the user waits for. If that fails, respond with an error page."""
        template = f"emails/{template_prefix.rpartition('/')[2]}.txt"
        try:
            with send_email(compose_plain(template, [email], context)):
                pass
        except MailError as error:
            log.warning("%s: %s", template, error)
            raise ImmediateHttpResponse(render(self.request, "account/mail_failed.html", status=503)) from error

    def send_notification_mail(self, template_prefix, user, context=None, email=None):
        message = compose_plain("emails/account_changed.txt", [user.email], {"change": CHANGES[template_prefix]})
        try:
            with send_email(message):
                pass
        except MailError as error:
            log.warning("%s happened, but its notification failed: %s", template_prefix, error)


class SecondFactorAdapter(DefaultMFAAdapter):
    error_messages = DefaultMFAAdapter.error_messages | {
        "incorrect_code": _("This code is wrong or was already used. Codes in your app change every 30 seconds.")
    }

    def encrypt(self, text):
        return _cipher().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text):
        return _cipher().decrypt(encrypted_text.encode()).decode()

    def generate_authenticator_name(self, user, type):
        count = user.authenticator_set.filter(type=type).count()
        return gettext("Passkey {number}").format(number=count + 1) if count else gettext("Passkey")

    def get_public_key_credential_rp_entity(self):
        return super().get_public_key_credential_rp_entity() | {"name": "Keywell"}


def _cipher() -> Fernet:
    # Derived from the fingerprint key, which doesn't change when VAULT_KEYS rotate (decisions/0005).
    key = hashlib.blake2b(b"second factors", digest_size=32, key=load_key()).digest()
    return Fernet(base64.urlsafe_b64encode(key))
