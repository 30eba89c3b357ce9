"""Callers sign in with a vendor's user name and password, or with one of its API keys."""

import binascii
from base64 import b64decode
from dataclasses import dataclass

from django.utils.functional import cached_property
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.permissions import BasePermission

from licensing.errors import AccessDenied
from licensing.models import Role, Token, VendorLogin
from merchants.models import Merchant

API_KEY_USER = "apiKey"


@dataclass(frozen=True)
class Caller:
    role: Role
    key: Token | VendorLogin
    licensee_id: int | None = None  # if set, the only licensee it may validate or transfer to

    @property
    def merchant(self) -> Merchant:
        return self.key.merchant

    @property
    def pk(self) -> str:
        """The key that throttling counts requests by."""
        return f"{self.key._meta.model_name}-{self.key.pk}"

    @cached_property
    def name(self) -> str:
        """The actor in histories."""
        return f"login {self.key}" if isinstance(self.key, VendorLogin) else f"API key {self.key}"


class BasicAuthentication(BaseAuthentication):
    """HTTP Basic (RFC 7617). Missing credentials get a 401, wrong ones a 403."""

    def authenticate(self, request):
        scheme, _, encoded = get_authorization_header(request).partition(b" ")
        if scheme.lower() != b"basic":
            return None
        try:
            user_name, _, password = b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise AccessDenied("The Authorization header can't be decoded.") from error
        caller = self._by_key(password) if user_name == API_KEY_USER else self._by_login(user_name, password)
        if caller is None:
            raise AccessDenied("Wrong user name or password, or unknown API key.")
        caller.key.touch()
        return caller.key, caller

    @staticmethod
    def _by_key(number: str) -> Caller | None:
        token = Token.objects.find(number)
        if token is None or not token.is_live or token.token_type != Token.Type.APIKEY:
            return None
        return Caller(Role(token.api_key_role), token, token.licensee_id)

    @staticmethod
    def _by_login(user_name: str, password: str) -> Caller | None:
        # PostgreSQL rejects NUL characters.
        login = None if "\0" in user_name else VendorLogin.objects.authenticate(user_name, password)
        return Caller(Role.ADMIN, login) if login else None

    def authenticate_header(self, request):
        return 'Basic realm="NetLicensing"'


class HasRole(BasePermission):
    """Requires `view.role` or a role above it."""

    def has_permission(self, request, view):
        if request.auth is None:
            return False
        if not request.auth.role.reaches(view.role):
            raise AccessDenied(f"This request needs an API key with the role {view.role} or higher.")
        return True
