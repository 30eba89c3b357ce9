"""Lets web pages of allowed origins call the licensing API (https://fetch.spec.whatwg.org/#http-cors-protocol).

Responses never allow credentials: clients send an Authorization header, and the API ignores cookies.
"""

import re
from collections.abc import Iterable

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.utils.cache import patch_vary_headers
from django.utils.deprecation import MiddlewareMixin

PATH = "/core/v2/rest/"
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
DEFAULT_PORT = re.compile(r"http://.*:80|https://.*:443")
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": "Accept, Authorization, Content-Type, NetLicensing-Origin, X-Requested-With",
    "Access-Control-Max-Age": "7200",
}


def read_origins(setting: str, values: Iterable[str]) -> frozenset[str]:
    """Return the origins in lower case, as browsers send them. Raises ImproperlyConfigured."""
    origins = [value.strip().lower() for value in values if value.strip()]
    for origin in origins:
        if not ORIGIN.fullmatch(origin) or DEFAULT_PORT.fullmatch(origin):
            raise ImproperlyConfigured(
                f"{setting}: “{origin}” isn't an origin. Use scheme://host or scheme://host:port, for example"
                " https://app.example.com, without a path, a trailing slash or the scheme's default port."
                " Separate multiple origins with commas. Wildcards aren't supported."
            )
    return frozenset(origins)


class Cors(MiddlewareMixin):
    """Has to be the outermost middleware, so that error responses get the headers, too."""

    def process_request(self, request):
        is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        return HttpResponse(status=204, headers=PREFLIGHT) if is_preflight and is_allowed(request) else None

    def process_response(self, request, response):
        if settings.LICENSING_CORS_ORIGINS and request.path_info.startswith(PATH):
            patch_vary_headers(response, ["Origin"])
        if is_allowed(request):
            response["Access-Control-Allow-Origin"] = request.headers["Origin"]
            response["Access-Control-Expose-Headers"] = "Retry-After"
        return response


def is_allowed(request) -> bool:
    origin = request.headers.get("Origin", "")
    return request.path_info.startswith(PATH) and origin in settings.LICENSING_CORS_ORIGINS
