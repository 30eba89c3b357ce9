"""Errors of the licensing API: an id that the official clients know, and a message for developers."""

from http import HTTPStatus

from rest_framework.exceptions import APIException


class LicensingError(APIException):
    status_code = HTTPStatus.BAD_REQUEST
    info = ""

    def __init__(self, detail: str, *, more: tuple[tuple[str, str], ...] = ()):
        super().__init__(detail)
        self.more = more  # further (id, text) infos


class NotFound(LicensingError):
    status_code = HTTPStatus.NOT_FOUND
    info = "NotFoundException"


class MalformedRequest(LicensingError):
    """Something is missing or can't be parsed."""

    info = "MalformedRequestException"


class Invalid(LicensingError):
    info = "ValidationException"


class UnexpectedValue(LicensingError):
    """A parameter contradicts the object it refers to."""

    info = "UnexpectedValueException"


class IllegalOperation(LicensingError):
    """A well-formed request that the current state doesn't allow."""

    info = "IllegalOperationException"


class AccessDenied(LicensingError):
    status_code = HTTPStatus.FORBIDDEN
    info = "AccessDeniedException"
