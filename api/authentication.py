from allauth.account.adapter import get_adapter
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import BasePermission

from merchants.models import ApiKey
from merchants.networks import allows


class KeyExpired(AuthenticationFailed):
    code = "api_key_expired"


class AddressNotAllowed(PermissionDenied):
    code = "address_not_allowed"


class ApiKeyAuthentication(BaseAuthentication):
    """Authenticates `Authorization: Bearer kw_...`. The request acts for `request.auth.merchant`."""

    def authenticate(self, request):
        scheme, _, text = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None

        key = ApiKey.authenticate(text.strip())
        if key is None:
            raise AuthenticationFailed("This API key doesn’t exist or has been revoked.")
        if key.has_expired:
            raise KeyExpired(
                f"This API key expired at {key.expires_at:%Y-%m-%dT%H:%M:%SZ}. An owner can create a new one."
            )
        if key.allowed_networks:
            refuse_other_networks(request, key)
        key.touch()
        return key.merchant, key

    def authenticate_header(self, request):
        return 'Bearer realm="Keywell"'


def refuse_other_networks(request, key: ApiKey) -> None:
    address = get_adapter().get_client_ip(request)
    if not allows(key.allowed_networks, address):
        raise AddressNotAllowed(
            f"This API key can’t be used from {address}. An owner can add the address to the key’s allowed addresses."
        )


class HasScope(BasePermission):
    def has_permission(self, request, view):
        self.message = f"This API key doesn’t have the scope “{view.scope}”."
        return request.auth is not None and view.scope in request.auth.scopes


class ApiKeyScheme(OpenApiAuthenticationExtension):
    target_class = "api.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema):
        return {"type": "http", "scheme": "bearer", "description": f"An API key. Scopes: {', '.join(ApiKey.Scope)}."}
