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
    "img-src": "'self' data:",  # data: the picture of a TOTP secret, which must not have an address
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}


# No page uses any of these.
PERMISSIONS = ["camera", "display-capture", "geolocation", "microphone", "midi", "payment", "serial", "usb"]
PERMISSIONS_POLICY = ", ".join(f"{name}=()" for name in PERMISSIONS)


class Utf8Only(MiddlewareMixin):
    """415 for a body in any charset but UTF-8 or ASCII, before anything decodes it.

    Django decodes with whatever codec a request names: some take minutes, others raise errors that end in a 500.
    """

    def process_request(self, request):
        if names_other_charset(request.META.get("CONTENT_TYPE", "")):
            return refuse(request, 415, "Send UTF-8: other values of charset are not supported.")
        return None


class BodyLimit(MiddlewareMixin):
    """413 for a body over 1 MiB, unless the view takes files: parsing a large form costs seconds."""

    def process_view(self, request, view, args, kwargs):
        takes_files = getattr(view, "takes_files", False) or getattr(getattr(view, "cls", None), "takes_files", False)
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not takes_files and length.isdecimal() and int(length) > settings.API_BODY_LIMIT:
            return refuse(request, 413, f"The request body is longer than {settings.API_BODY_LIMIT} bytes.")
        return None


class DatabaseAway(MiddlewareMixin):
    """503 while the database restarts or is overloaded: whoever asked may ask again."""

    def process_exception(self, request, exception):
        if not isinstance(exception, OperationalError | InterfaceError):
            return None
        logger.warning("The database does not answer: %s", type(exception).__name__)
        response = refuse(request, 503, "The database does not answer at the moment. Send the same request again.")
        response.headers["Retry-After"] = "5"
        return response


def refuse(request, status: int, detail: str) -> HttpResponse:
    """Refuse a request before its view runs, in the format of the API it is for, or as a page."""
    # A client that is still sending when the connection is closed never sees the answer.
    while request.read(64 * 1024):
        pass
    if request.path_info.startswith("/api/"):
        return problem_response(status, detail)
    if request.path_info.startswith("/core/"):
        return plain_refusal(request, status, detail)
    return HttpResponse(render_to_string("refused.html", {"detail": detail}), status=status)


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
