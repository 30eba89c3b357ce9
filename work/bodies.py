"""Request bodies, as long as they may be."""

from rest_framework import status
from rest_framework.exceptions import APIException


class BodyTooLong(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "body_too_long"

    def __init__(self, limit: int):
        super().__init__(f"The request body is longer than {limit} bytes.")


def takes_files(view):
    """Let a view take bodies as long as an upload may be; see portal.middleware.BodyLimit."""
    view.takes_files = True
    return view


def read_body(stream, limit: int) -> bytes:
    """Return the whole body, or raise BodyTooLong without having read much more than the limit."""
    body = stream.read(limit + 1)
    if len(body) > limit:
        raise BodyTooLong(limit)
    return body
