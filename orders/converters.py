from django.urls import register_converter
from django.urls.converters import StringConverter


class ReferenceConverter(StringConverter):
    """A number that the shop gave an order or an item, or `id:` and our own.

    A number may contain slashes, which WSGI servers decode: as little as possible is taken for it. Where that is
    ambiguous, as for an order “A/refund”, the id is not.
    """

    regex = r"[^\x00-\x1f\x7f]+?"


register_converter(ReferenceConverter, "reference")
