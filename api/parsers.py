import io
from typing import Any

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, JSONParser, MultiPartParser

from work.bodies import BodyTooLong, read_body


class BoundedJSONParser(JSONParser):
    """Parses JSON of at most API_BODY_LIMIT bytes. Nesting too deep for Python is a parse error."""

    def parse(self, stream, media_type=None, parser_context=None) -> Any:
        body = read_body(stream, settings.API_BODY_LIMIT)
        try:
            return super().parse(io.BytesIO(body), media_type, parser_context)
        except RecursionError as error:
            raise ParseError("The JSON is nested too deeply.") from error


class BoundedMultiPartParser(MultiPartParser):
    """Parses a form with a file, up to the size limit for uploads."""

    def parse(self, stream, media_type=None, parser_context=None) -> Any:
        length = (parser_context or {})["request"].META.get("CONTENT_LENGTH") or "0"
        if int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise BodyTooLong(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        return super().parse(stream, media_type, parser_context)


class PlainTextParser(BaseParser):
    """Returns the body as bytes, up to the size limit for uploads."""

    media_type = "text/plain"

    def parse(self, stream, media_type=None, parser_context=None) -> Any:
        return read_body(stream, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


class CsvParser(PlainTextParser):
    media_type = "text/csv"


class GzipParser(PlainTextParser):
    media_type = "application/gzip"
