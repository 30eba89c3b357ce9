from django.conf import settings
from django.middleware.gzip import GZipMiddleware
from django.utils.deprecation import MiddlewareMixin

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",  # data: the picture of a TOTP secret, which must not have an address
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}


# No page uses any of these.
PERMISSIONS = ["camera", "display-capture", "geolocation", "microphone", "midi", "payment", "serial", "usb"]
PERMISSIONS_POLICY = ", ".join(f"{name}=()" for name in PERMISSIONS)


class ContentSecurityPolicy(MiddlewareMixin):
    """Nothing but our own files: a customer's name or a template that smuggles in markup gets nothing to run.

    A view may set `response.content_security_policy`, a dict, to change directives of this one answer.
    """

    def process_response(self, request, response):
        policy = POLICY | getattr(response, "content_security_policy", {})
        response.headers.setdefault("Content-Security-Policy", "; ".join(" ".join(pair) for pair in policy.items()))
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        # Other sites' pages embed nothing of ours. A view that mail programs load from says so itself.
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        return response


class CompressedAssets(GZipMiddleware):
    """Compresses what is the same for everybody. Pages are not: the size of a compressed one tells of its secrets."""

    def process_response(self, request, response):
        if not request.path_info.startswith(settings.STATIC_URL):
            return response
        return super().process_response(request, response)
