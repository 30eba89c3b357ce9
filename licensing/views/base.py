from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.db.models import Q, QuerySet
from django.http import QueryDict
from psycopg.errors import ForeignKeyViolation
from rest_framework.exceptions import APIException, MethodNotAllowed, NotAuthenticated, Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, set_rollback

from licensing.authentication import BasicAuthentication, Caller, HasRole
from licensing.envelope import Envelope, EnvelopeJSONRenderer, EnvelopeXMLRenderer, FormParser, Info, Negotiation
from licensing.errors import AccessDenied, LicensingError, MalformedRequest, NotFound
from licensing.models import Licensee, Role
from merchants.models import Merchant
from work import incidents

# Wire-format ids of the framework's errors. All others are malformed requests.
INFOS: dict[type[APIException], str] = {
    NotAuthenticated: "AuthenticationException",
    MethodNotAllowed: "MethodNotAllowedException",
    Throttled: "TooManyRequestsException",
}


def number_in(form: QueryDict, name: str) -> str:
    """Return a number without surrounding spaces, which pasted numbers often have; empty if it's missing."""
    return form.get(name, "").strip()


class LicensingView(APIView):
    """Responds with an Envelope."""

    authentication_classes = [BasicAuthentication]
    permission_classes = [HasRole]
    parser_classes = [FormParser]
    renderer_classes = [EnvelopeXMLRenderer, EnvelopeJSONRenderer]
    content_negotiation_class = Negotiation
    http_method_names = ["get", "head", "post", "delete"]
    schema = None  # NetLicensing's format, see docs/netlicensing.md

    role = Role.ADMIN
    request: Request

    @property
    def caller(self) -> Caller:
        return self.request.auth  # type: ignore[return-value]

    @property
    def vendor(self) -> Merchant:
        return self.caller.merchant

    @property
    def form(self) -> QueryDict:
        return self.request.data if isinstance(self.request.data, QueryDict) else QueryDict()

    def initial(self, request, *args, **kwargs):
        super().initial(request, *args, **kwargs)
        received = [*request.query_params.lists(), *self.form.lists(), ("", list(kwargs.values()))]
        if any("\0" in text for name, values in received for text in (name, *values)):
            raise MalformedRequest("Values must not contain NUL characters.")

    def get_exception_handler(self):
        return handle_error

    def licensee(self, number: str) -> Licensee:
        """Find the vendor's licensee by number or alias. Raises NotFound, AccessDenied."""
        return self.check_access(Licensee.objects.find(self.caller.key.merchant_id, number))

    def check_access(self, licensee: Licensee | None) -> Licensee:
        """Return the licensee if this caller may use it. Raises NotFound.

        A key for one licensee gets AccessDenied for any other number, so it can't learn which numbers exist.
        """
        if self.caller.licensee_id and (licensee is None or licensee.pk != self.caller.licensee_id):
            raise AccessDenied("This API key is for another licensee.")
        if licensee is None:
            raise NotFound("Requested licensee does not exist")
        return licensee


def handle_error(error: Exception, context: dict) -> Response:
    """Return an envelope for any error, because clients can't parse Django's error pages.

    Database outages are left to the middleware.
    """
    if isinstance(error, InterfaceError | OperationalError):
        raise error
    if isinstance(error, SuspiciousOperation | RequestDataTooBig):
        error = MalformedRequest(str(error))
    if isinstance(error, ObjectDoesNotExist) or isinstance(error.__cause__, ForeignKeyViolation):
        error = NotFound("An object that the request refers to was deleted at the same time.")
    set_rollback()
    if not isinstance(error, APIException):
        text = incidents.sentence(error, f"{context['request'].method} {context['view'].__class__.__name__}")
        return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalException", text)

    known = error.info if isinstance(error, LicensingError) else INFOS.get(type(error))
    status, info = error.status_code, known or MalformedRequest.info
    more = error.more if isinstance(error, LicensingError) else ()
    if known is None and status < 500:
        status = HTTPStatus.BAD_REQUEST
    response = _refusal(status, info, str(error.detail), more)
    if isinstance(error, NotAuthenticated):
        response["WWW-Authenticate"] = error.auth_header  # type: ignore[attr-defined]
    if isinstance(error, Throttled):
        response["Retry-After"] = str(error.wait)  # type: ignore[attr-defined]
    return response


def _refusal(status: int, info: str, text: str, more: tuple[tuple[str, str], ...] = ()) -> Response:
    return Response(Envelope(infos=[Info(*each) for each in ((info, text), *more)]), status=status)


class UnknownResource(LicensingView):
    role = Role.LICENSEE

    def _refuse(self, request, **kwargs):
        raise NotFound("There is no such resource here.")

    get = post = delete = _refuse


MAX_PAGE_SIZE = 1000

Filter = Callable[[str], Q]


def equals(lookup: str) -> Filter:
    return lambda value: Q(**{lookup: value})


def is_true(lookup: str) -> Filter:
    return lambda value: Q(**{lookup: value.lower() == "true"})


def is_licensee(lookup: str = "") -> Filter:
    """Filter by a licensee's number or alias, through this relation or on licensees themselves."""
    return lambda value: Q(**{f"{lookup or 'pk'}__in": Licensee.objects.with_number(value).order_by().values("pk")})


@dataclass
class Page:
    rows: list[Any]
    number: int
    size: int
    total: int


def paginate(rows: QuerySet, request: Request, filters: dict[str, Filter]) -> Page:
    """Apply the request's filters and return the requested page.

    `filter=a=1;b=2` takes any conditions; known names also work as query parameters. Unknown names in `filter` match
    custom properties. Raises MalformedRequest.
    """
    query = request.query_params.dict()
    requested = {name: str(value).strip() for name, value in query.items() if name in {*filters, "page", "items"}}
    conditions = requested | _parse(request.query_params.get("filter", ""))
    number = _parse_whole(conditions.pop("page", ""), name="page", default=0, least=0)
    size = min(_parse_whole(conditions.pop("items", ""), name="items", default=MAX_PAGE_SIZE, least=1), MAX_PAGE_SIZE)
    for name, value in conditions.items():
        by_property = Q(properties__contains={name: value})
        rows = rows.filter(filters[name](value) if name in filters else by_property)
    return Page(list(rows[number * size : (number + 1) * size]), number, size, rows.count())


def _parse(text: str) -> dict[str, str]:
    conditions = {}
    for part in filter(None, text.split(";")):
        name, equals_sign, value = part.partition("=")
        if not equals_sign:
            raise MalformedRequest(f"A filter has the form name=value;name=value; “{part[:100]}” doesn't.")
        conditions[name.strip()] = value.strip()
    return conditions


def _parse_whole(text: str, *, name: str, default: int, least: int) -> int:
    if not text:
        return default
    if not text.isdecimal() or len(text) > 9 or int(text) < least:
        raise MalformedRequest(f"{name} has to be a whole number of at least {least}.")
    return int(text)
