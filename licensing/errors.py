"""What the service refuses: an info of the clients' known ids, with a text for whoever develops against it."""

from http import HTTPStatus

from rest_framework.exceptions import APIException


class LicensingError(APIException):
    status_code = HTTPStatus.BAD_REQUEST
    info = ""

    def __init__(self, detail: str, *, more: tuple[tuple[str, str], ...] = ()):
        super().__init__(detail)
        self.more = more  # further infos: ids and texts


class NotFound(LicensingError):
    status_code = HTTPStatus.NOT_FOUND
    info = "NotFoundException"


class MalformedRequest(LicensingError):
    """Something is missing, or cannot be read."""

    info = "MalformedRequestException"


class Invalid(LicensingError):
    info = "ValidationException"


class UnexpectedValue(LicensingError):
    """A value that contradicts the thing that the request is about."""

    info = "UnexpectedValueException"


class IllegalOperation(LicensingError):
    """The request is right in itself, and contradicts how things stand."""

    info = "IllegalOperationException"


class AccessDenied(LicensingError):
    status_code = HTTPStatus.FORBIDDEN
    info = "AccessDeniedException"
