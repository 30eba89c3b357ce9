"""The language and time zone of pages."""

from django.utils import timezone, translation
from django.utils.cache import patch_vary_headers

from merchants.languages import best_language, offered

# Programs read English, and customers’ pages choose their language themselves.
OTHERS = ("/api/", "/in/", "/core/", "/anymail/", "/healthz", "/metrics", "/logos/", "/o/", "/lost/")
API_DOCS = "/api/docs/"


class LanguageAndTime:
    """Middleware: the person’s language and time zone; without any, the browser’s language and UTC."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.path_info.startswith(OTHERS) and not request.path_info.startswith(API_DOCS):
            return self.get_response(request)

        user = request.user if request.user.is_authenticated else None
        chosen = user.language if user else ""
        language = offered(chosen) if chosen else best_language(request.headers.get("Accept-Language", ""))
        with translation.override(language), timezone.override(user.zone if user else None):
            response = self.get_response(request)
        response.headers.setdefault("Content-Language", language)
        if not chosen:
            patch_vary_headers(response, ["Accept-Language"])
        return response
