from django.urls import register_converter
from django.urls.converters import StringConverter


class ReferenceConverter(StringConverter):
    """The shop's number of an order or item, or `id:` followed by our own id.

    A number can contain slashes, because WSGI servers decode %2F, so the pattern matches as little as possible. Use
    the id where the number is ambiguous, as for an order “A/refund”.
    """

    regex = r"[^\x00-\x1f\x7f]+?"


register_converter(ReferenceConverter, "reference")
