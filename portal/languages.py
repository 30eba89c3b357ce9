"""The language and time zone of pages."""

from django.conf import settings
from django.http import HttpResponse
from django.utils import timezone, translation
from django.utils.cache import patch_vary_headers

from merchants.languages import best_language, offered

# Programs read English, and customers’ pages choose their language themselves.
OTHERS = ("/api/", "/in/", "/core/", "/anymail/", "/healthz", "/metrics", "/logos/", "/o/", "/lost/")
API_DOCS = "/api/docs/"


class LanguageAndTime:
    """Middleware: the person’s language and time zone; without any, the browser’s language and UTC.

    A cookie keeps the language for the pages before the next sign-in.
    """

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.path_info.startswith(OTHERS) and not request.path_info.startswith(API_DOCS):
            return self.get_response(request)

        user = request.user if request.user.is_authenticated else None
        kept = request.COOKIES.get(settings.LANGUAGE_COOKIE_NAME, "")
        chosen = user.language if user else kept if kept in settings.MEMBER_LANGUAGES else ""
        language = offered(chosen) if chosen else best_language(request.headers.get("Accept-Language", ""))
        with translation.override(language), timezone.override(user.zone if user else None):
            response = self.get_response(request)
        response.headers.setdefault("Content-Language", language)
        if not chosen:
            patch_vary_headers(response, ["Accept-Language"])
        if request.user.is_authenticated and request.user.language != kept:  # also after signing in
            keep(response, request.user.language)
        return response


def keep(response: HttpResponse, language: str) -> None:
    name, path = settings.LANGUAGE_COOKIE_NAME, settings.LANGUAGE_COOKIE_PATH
    if language:
        response.set_cookie(
            name,
            language,
            max_age=settings.LANGUAGE_COOKIE_AGE,
            path=path,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
    else:
        response.delete_cookie(name, path, samesite="Lax")
