"""Gives each request an id, logs it, and counts it."""

import logging
from time import perf_counter

from django.http import HttpRequest, HttpResponse
from django.utils.encoding import escape_uri_path
from prometheus_client import Counter, Histogram

from merchants.models import ApiKey
from portal.errors import mask_path
from work import metrics, request_ids

logger = logging.getLogger(__name__)

REQUESTS = Counter("keywell_requests", "HTTP requests.", ["area", "status"])
PAYMENTS = Counter("keywell_payments", "Reports of payments, without test data.", ["outcome"])
PAYMENT_SECONDS = Histogram(
    "keywell_payment_seconds",
    "Time until a report of a payment is answered, without test data.",
    ["outcome"],
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
PAYMENT_OUTCOMES = {
    200: "repeated",
    201: "accepted",
    202: "unmapped",
    401: "unauthorized",
    403: "unauthorized",
    409: "conflict",
    429: "throttled",
}
# They come every few seconds or with every page, so they are logged only if they fail.
QUIET = ("/static/", "/healthz", "/metrics")
MAX_LOGGED_PATH = 300


class Observation:
    """The outermost middleware. Everything that is logged within a request carries its id."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = perf_counter()
        request.request_id = request_ids.accept(request.headers.get(request_ids.HEADER, ""))  # type: ignore[attr-defined]
        with request_ids.working_for(request.request_id):  # type: ignore[attr-defined]
            response = self.get_response(request)
            response.headers[request_ids.HEADER] = request_ids.current_request_id()
            seconds = perf_counter() - started
            _count(request, response.status_code, seconds)
            _log(request, response.status_code, seconds)
        return response


def _log(request: HttpRequest, status: int, seconds: float) -> None:
    if status < 400 and request.path_info.startswith(QUIET):
        return
    method, path, ms = request.method, mask_path(escape_uri_path(request.path_info))[:MAX_LOGGED_PATH], seconds * 1000
    fields = {"method": method, "path": path, "status": status, "ms": round(ms, 1)}
    logger.info("%s %s %s %.1f ms", method, path, status, ms, extra={"fields": fields})


def _count(request: HttpRequest, status: int, seconds: float) -> None:
    metrics.count(REQUESTS, _area(request.path_info), f"{status // 100}xx")
    match = request.resolver_match
    if match and match.view_name == "api-payments" and not _is_test(request):
        outcome = PAYMENT_OUTCOMES.get(status) or ("error" if status >= 500 else "invalid")
        metrics.count(PAYMENTS, outcome)
        metrics.observe(PAYMENT_SECONDS, seconds, outcome)


def _area(path: str) -> str:
    if path.startswith("/api/"):
        return "api"
    return "licensing" if path.startswith("/core/") else "pages"


def _is_test(request: HttpRequest) -> bool:
    key = getattr(request, "auth", None)
    return isinstance(key, ApiKey) and key.merchant.live_id is not None
