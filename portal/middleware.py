import logging

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpResponse
from django.middleware.gzip import GZipMiddleware
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin

from api.problems import problem_response
from licensing.envelope import plain_refusal
from portal.charsets import names_other_charset

logger = logging.getLogger(__name__)

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",  # data: for the QR code of a TOTP secret, which must not have a URL
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}


PERMISSIONS = ["camera", "display-capture", "geolocation", "microphone", "midi", "payment", "serial", "usb"]
PERMISSIONS_POLICY = ", ".join(f"{name}=()" for name in PERMISSIONS)


class Utf8Only(MiddlewareMixin):
    """Responds with 415 to charsets other than UTF-8 or ASCII, before anything decodes the body.

    Django decodes with any codec that a request names. Some take minutes, others raise errors that become a 500.
    """

    def process_request(self, request):
        if names_other_charset(request.META.get("CONTENT_TYPE", "")):
            return refuse(request, 415, "Unsupported charset. Send the request in UTF-8.")
        return None


class BodyLimit(MiddlewareMixin):
    """Responds with 413 to bodies over 1 MiB unless the view takes files: parsing a large form takes seconds."""

    def process_view(self, request, view, args, kwargs):
        takes_files = getattr(view, "takes_files", False) or getattr(getattr(view, "cls", None), "takes_files", False)
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not takes_files and length.isdecimal() and int(length) > settings.API_BODY_LIMIT:
            return refuse(request, 413, f"The request body is larger than {settings.API_BODY_LIMIT} bytes.")
        return None


class DatabaseAway(MiddlewareMixin):
    """Responds with 503 while the database restarts or is overloaded. Clients can retry."""

    def process_exception(self, request, exception):
        if not isinstance(exception, OperationalError | InterfaceError):
            return None
        logger.warning("Database unavailable: %s", type(exception).__name__)
        response = refuse(request, 503, "The database is temporarily unavailable. Please retry the request.")
        response.headers["Retry-After"] = "5"
        return response


def refuse(request, status: int, detail: str) -> HttpResponse:
    """Refuse a request before its view runs, in the format of its API or as a page."""
    # Read the body first: a client that is still sending when the connection closes never sees the response.
    while request.read(64 * 1024):
        pass
    if request.path_info.startswith("/api/"):
        return problem_response(status, detail)
    if request.path_info.startswith("/core/"):
        return plain_refusal(request, status, detail)
    return HttpResponse(render_to_string("refused.html", {"detail": detail}), status=status)


class ContentSecurityPolicy(MiddlewareMixin):
    """Allows only our own files, so that markup injected through a name or template can't run scripts.

    A view can override directives for its response in the dict `response.content_security_policy`.
    """

    def process_response(self, request, response):
        policy = POLICY | getattr(response, "content_security_policy", {})
        response.headers.setdefault("Content-Security-Policy", "; ".join(" ".join(pair) for pair in policy.items()))
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        # Other sites can't embed our resources. The logo view, which e-mails load, sets its own value.
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        return response


class CompressedAssets(GZipMiddleware):
    """Compresses static files only. The size of a compressed page could reveal its secrets (BREACH)."""

    def process_response(self, request, response):
        if not request.path_info.startswith(settings.STATIC_URL):
            return response
        return super().process_response(request, response)
