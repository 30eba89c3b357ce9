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

from outbound.mail import MailError, compose_plain, send_email
from portal.account import devices
from vault.fingerprints import load_key

log = logging.getLogger(__name__)


# What people are told by mail when it happened to their account.
CHANGES = {
    "account/email/password_changed": "Your password was changed",
    "account/email/password_reset": "Your password was reset",
    "account/email/password_set": "A password was set for your account",
    "mfa/email/totp_activated": "An authenticator app was added to your account",
    "mfa/email/totp_deactivated": "The authenticator app was removed from your account",
    "mfa/email/webauthn_added": "A passkey was added to your account",
    "mfa/email/webauthn_removed": "A passkey was removed from your account",
    "mfa/email/recovery_codes_generated": "New recovery codes were made for your account",
}


class AccountAdapter(DefaultAccountAdapter):
    error_messages = DefaultAccountAdapter.error_messages | {
        "email_password_mismatch": "This e-mail address and password do not belong together.",
        "enter_current_password": "This is not your current password.",
        "incorrect_password": "This is not your password.",
        "too_many_login_attempts": "Too many failed attempts. Please try again in 15 minutes.",
        "rate_limited": "Too many failed attempts. Please try again in 15 minutes.",
    }

    def is_open_for_signup(self, request):
        return False

    def _get_login_attempts_cache_key(self, request, **credentials):
        # allauth's own holds the Host header as well, so that each port an attacker writes there counts from zero.
        email = credentials["email"].lower()
        return f"{email} {devices.recognize(request, email) or ratelimit.get_ip(request)}"

    def pre_authenticate(self, request, **credentials):
        # A stranger who fails locks out strangers, never somebody at a device that they signed in with before.
        if not self._count_stranger(request, credentials["email"], dry_run=True):
            raise self.validation_error("too_many_login_attempts")
        super().pre_authenticate(request, **credentials)

    def authentication_failed(self, request, **credentials):
        self._count_stranger(request, credentials["email"])

    def _count_stranger(self, request, email, *, dry_run=False):
        strangers = self._strangers(email)
        return devices.recognize(request, strangers["key"]) or ratelimit.consume(request, **strangers, dry_run=dry_run)

    @staticmethod
    def _strangers(email: str) -> dict:
        """Where failed attempts are counted that come from devices the user never signed in with."""
        limit = {"login_failed": settings.LOGIN_FAILED_BY_STRANGERS}
        return {"app": "portal", "action": "login_failed", "config": limit, "key": email.lower()}

    def post_login(self, request, user, **kwargs):
        response = super().post_login(request, user, **kwargs)
        devices.remember(response, user.email)
        return response

    def set_password(self, user, password):
        super().set_password(user, password)
        # Whoever was locked out may come in with the new one.
        self._delete_login_attempts_cached_email(self.request, email=user.email)
        ratelimit.clear(self.request, **self._strangers(user.email))

    def get_reauthentication_methods(self, user):
        methods = super().get_reauthentication_methods(user)
        for method in methods:
            if method["id"] == "mfa_reauthenticate:webauthn":
                method["description"] = "Use a passkey"
        return methods

    def get_reset_password_from_key_url(self, key):
        # Not at the host that was asked: perhaps the mail is read by somebody else than who asked.
        return settings.BASE_URL + urlsplit(super().get_reset_password_from_key_url(key)).path

    def send_mail(self, template_prefix, email, context):
        """Send a mail that somebody waits for. If it is not taken, the answer is a page that says so."""
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
            log.warning("%s, unknown to its owner: %s", CHANGES[template_prefix], error)


class SecondFactorAdapter(DefaultMFAAdapter):
    error_messages = DefaultMFAAdapter.error_messages | {
        "incorrect_code": "This is not right, or it was used before. An app’s code changes every 30 seconds."
    }

    def encrypt(self, text):
        return _cipher().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text):
        return _cipher().decrypt(encrypted_text.encode()).decode()

    def generate_authenticator_name(self, user, type):
        count = user.authenticator_set.filter(type=type).count()
        return f"Passkey {count + 1}" if count else "Passkey"

    def get_public_key_credential_rp_entity(self):
        return super().get_public_key_credential_rp_entity() | {"name": "Keywell"}


def _cipher() -> Fernet:
    # Its key is derived from the one behind fingerprints, which stays when VAULT_KEYS rotate (decisions/0005).
    key = hashlib.blake2b(b"second factors", digest_size=32, key=load_key()).digest()
    return Fernet(base64.urlsafe_b64encode(key))
