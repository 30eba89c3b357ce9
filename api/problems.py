"""The API's errors: application/problem+json (RFC 9457)."""

import sys
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, TooManyFilesSent
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler as rest_exception_handler

from work import incidents
from work.refusals import Refused
from work.request_ids import current_request_id

CONTENT_TYPE = "application/problem+json"


def exception_handler(error: Exception, context: dict) -> Response | None:
    """Like DRF's handler, but with a problem as the body. Unexpected exceptions stay unhandled and become a 500."""
    if isinstance(error, Refused):
        members = {"code": error.code} | ({"errors": error.errors} if error.errors else {})
        body = problem(HTTPStatus.CONFLICT, str(error), **members)
        return Response(body, HTTPStatus.CONFLICT, content_type=CONTENT_TYPE)
    if isinstance(error, RequestDataTooBig | TooManyFilesSent):
        error = exceptions.ParseError(str(error))
    response = rest_exception_handler(error, context)
    if response is None:
        return None

    if isinstance(error, exceptions.ValidationError):
        response.data = problem(response.status_code, "The request is invalid.", errors=list(_errors(error.detail)))
    else:
        code = {"code": error.code} if hasattr(error, "code") else {}
        response.data = problem(response.status_code, _detail(error), **code)
    response.content_type = CONTENT_TYPE
    return response


def problem(status: int, detail: str, **members: Any) -> dict[str, Any]:
    request_id = current_request_id()
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail, **members}
    return body | {"request_id": request_id} if request_id else body


def _detail(error: Exception) -> str:
    if isinstance(error, exceptions.APIException):
        return str(error.detail)
    if isinstance(error, Http404 | PermissionDenied) and error.args:
        return str(error.args[0])
    return "Not found."


def _errors(detail: Any) -> Iterator[dict[str, str]]:
    for pointer, message in _messages(detail, "#"):
        # Messages can quote the request, and a lone surrogate can't be encoded in the response.
        yield {"pointer": _replace_surrogates(pointer), "detail": _replace_surrogates(message)}


def _replace_surrogates(text: str) -> str:
    return text.encode(errors="replace").decode()


def _messages(detail: Any, pointer: str) -> Iterator[tuple[str, str]]:
    """Yield every message in DRF's nested detail with a JSON pointer (RFC 6901) to its field."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            escaped = str(name).replace("~", "~0").replace("/", "~1")
            yield from _messages(inner, pointer if name == "non_field_errors" else f"{pointer}/{escaped}")
    elif isinstance(detail, list) and any(isinstance(inner, dict | list) for inner in detail):
        for index, inner in enumerate(detail):
            yield from _messages(inner, f"{pointer}/{index}")
    elif isinstance(detail, list):
        for message in detail:
            yield pointer, str(message)
    else:
        yield pointer, str(detail)


def problem_response(status: int, detail: str) -> JsonResponse:
    return JsonResponse(problem(status, detail), status=status, content_type=CONTENT_TYPE)


# The project's error handlers: problems for the API, Django's pages elsewhere.


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith("/api/"):
        return problem_response(400, "The request is malformed.")
    return defaults.bad_request(request, exception)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith("/api/"):
        return problem_response(404, "This API endpoint doesn’t exist. See /api/docs/.")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    match = request.resolver_match
    error = sys.exc_info()[1] or RuntimeError()
    reference = incidents.report(error, f"{request.method} {match.route if match else 'an unknown address'}")
    if request.path.startswith("/api/"):
        detail = f"Something went wrong on our side (reference {reference}). Send the same request again."
        return problem_response(500, detail)
    return HttpResponse(render_to_string("500.html", {"reference": reference}), status=500)
