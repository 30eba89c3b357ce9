import io
from typing import Any

from django.conf import settings
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser, JSONParser, MultiPartParser


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


class BoundedJSONParser(JSONParser):
    """JSON of at most API_BODY_LIMIT bytes, nested no deeper than Python can read."""

    def parse(self, stream, media_type=None, parser_context=None) -> Any:
        body = read_body(stream, settings.API_BODY_LIMIT)
        try:
            return super().parse(io.BytesIO(body), media_type, parser_context)
        except RecursionError as error:
            raise ParseError("The JSON is nested too deeply.") from error


class BoundedMultiPartParser(MultiPartParser):
    """A form with a file, at most as long as an upload may be."""

    def parse(self, stream, media_type=None, parser_context=None) -> Any:
        length = (parser_context or {})["request"].META.get("CONTENT_LENGTH") or "0"
        if int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise BodyTooLong(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        return super().parse(stream, media_type, parser_context)


class PlainTextParser(BaseParser):
    """The body as bytes, for views that read a text file from it; at most as long as an upload may be."""

    media_type = "text/plain"

    def parse(self, stream, media_type=None, parser_context=None) -> Any:
        return read_body(stream, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


class CsvParser(PlainTextParser):
    media_type = "text/csv"


class GzipParser(PlainTextParser):
    media_type = "application/gzip"
