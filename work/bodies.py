from rest_framework import status
from rest_framework.exceptions import APIException


class BodyTooLong(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "body_too_long"

    def __init__(self, limit: int):
        super().__init__(f"The request body is longer than {limit} bytes.")


def takes_files(view):
    """Let a view accept bodies up to the upload limit. See portal.middleware.BodyLimit."""
    view.takes_files = True
    return view


def read_body(stream, limit: int) -> bytes:
    """Return the body. Raises BodyTooLong after reading at most one byte more than the limit."""
    body = stream.read(limit + 1)
    if len(body) > limit:
        raise BodyTooLong(limit)
    return body
