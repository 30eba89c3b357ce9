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

from licensing.authentication import BasicAuthentication, Caller, MayDo
from licensing.envelope import Envelope, EnvelopeJSONRenderer, EnvelopeXMLRenderer, FormParser, Info, Negotiation
from licensing.errors import AccessDenied, LicensingError, MalformedRequest, NotFound
from licensing.models import Licensee, Role
from merchants.models import Merchant
from work import incidents

# The clients' ids for errors of the framework; all others count as malformed requests.
INFOS: dict[type[APIException], str] = {
    NotAuthenticated: "AuthenticationException",
    MethodNotAllowed: "MethodNotAllowedException",
    Throttled: "TooManyRequestsException",
}


def number_in(form: QueryDict, name: str) -> str:
    """A number as customers and shops paste it, without the spaces around it; empty if there is none."""
    return form.get(name, "").strip()


class LicensingView(APIView):
    """A view knows its caller (`self.caller`) and vendor (`self.vendor`), and answers with an Envelope."""

    authentication_classes = [BasicAuthentication]
    permission_classes = [MayDo]
    parser_classes = [FormParser]
    renderer_classes = [EnvelopeXMLRenderer, EnvelopeJSONRenderer]
    content_negotiation_class = Negotiation
    http_method_names = ["get", "head", "post", "delete"]
    schema = None  # the format is not ours to document: docs/netlicensing.md

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
        said = [*request.query_params.lists(), *self.form.lists(), ("", list(kwargs.values()))]
        if any("\0" in text for name, values in said for text in (name, *values)):
            raise MalformedRequest("A value holds a NUL, which is not kept.")

    def get_exception_handler(self):
        return answer_error

    def licensee(self, number: str) -> Licensee:
        """The vendor's licensee of this number, or alias. Raises NotFound, AccessDenied."""
        return self.allowed(Licensee.objects.find(self.caller.key.merchant_id, number))

    def allowed(self, licensee: Licensee | None) -> Licensee:
        """What was found by a number, for this caller. Raises NotFound.

        To who has a licensee's own key there is no other: AccessDenied, also if there is none of that number.
        """
        if self.caller.licensee_id and (licensee is None or licensee.pk != self.caller.licensee_id):
            raise AccessDenied("This API key is for another licensee.")
        if licensee is None:
            raise NotFound("Requested licensee does not exist")
        return licensee


def answer_error(error: Exception, context: dict) -> Response:
    """An envelope for whatever went wrong; nothing is left to Django, whose pages no client could read.

    But the middleware knows what to say while the database is away.
    """
    if isinstance(error, InterfaceError | OperationalError):
        raise error
    if isinstance(error, SuspiciousOperation | RequestDataTooBig):
        error = MalformedRequest(str(error))
    if isinstance(error, ObjectDoesNotExist) or isinstance(error.__cause__, ForeignKeyViolation):
        error = NotFound("Something that the request is about was deleted meanwhile")
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


class Nothing(LicensingView):
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
    """By its number or an alias; of the things with this relation, or of licensees themselves."""
    return lambda value: Q(**{f"{lookup or 'pk'}__in": Licensee.objects.called(value).order_by().values("pk")})


@dataclass
class Page:
    rows: list[Any]
    number: int
    size: int
    total: int


def choose(rows: QuerySet, request: Request, filters: dict[str, Filter]) -> Page:
    """The page asked for of what the filters leave.

    `filter=a=1;b=2` holds all conditions; one on a name of ours may stand alone, too. In a filter every other name is
    one of the vendor's own properties. Raises MalformedRequest.
    """
    query = request.query_params.dict()
    asked = {name: str(value).strip() for name, value in query.items() if name in {*filters, "page", "items"}}
    conditions = asked | _parse(request.query_params.get("filter", ""))
    number = _whole(conditions.pop("page", ""), name="page", default=0, least=0)
    size = min(_whole(conditions.pop("items", ""), name="items", default=MAX_PAGE_SIZE, least=1), MAX_PAGE_SIZE)
    for name, value in conditions.items():
        own = Q(properties__contains={name: value})
        rows = rows.filter(filters[name](value) if name in filters else own)
    return Page(list(rows[number * size : (number + 1) * size]), number, size, rows.count())


def _parse(text: str) -> dict[str, str]:
    conditions = {}
    for part in filter(None, text.split(";")):
        name, equals_sign, value = part.partition("=")
        if not equals_sign:
            raise MalformedRequest(f"The filter has to read name=value;name=value, and “{part[:100]}” does not.")
        conditions[name.strip()] = value.strip()
    return conditions


def _whole(text: str, *, name: str, default: int, least: int) -> int:
    if not text:
        return default
    if not text.isdecimal() or len(text) > 9 or int(text) < least:
        raise MalformedRequest(f"{name} has to be a whole number, {least} at least.")
    return int(text)
