import re

from django.http import multipartparser
from django.utils.http import parse_header_parameters

CHARSETS = {"utf-8", "utf8", "us-ascii", "ascii"}
# An RFC 2231 parameter such as filename*=utf-8''a.txt, or a part of one such as filename*0*=utf-8''a
EXTENDED_PARAMETER = re.compile(r"\*([0-9]*)\*?\s*=\s*\"?([^'\"]*)")


def names_other_charset(header: str) -> bool:
    """Return whether a header such as Content-Type names a charset other than UTF-8 or ASCII."""
    for number, charset in EXTENDED_PARAMETER.findall(header):
        if number or charset.lower() not in CHARSETS:
            return True
    charset = parse_header_parameters(header)[1].get("charset", "")
    return bool(charset) and charset.lower() not in CHARSETS


def parse_part_header(line: str) -> tuple[str, dict[str, str]]:
    """Parse a header of a form part like Django. Raises ValueError if it names another charset.

    Decoding a megabyte of parts with file names in punycode would take over a second. RFC 7578 (4.2) forbids them.
    """
    if names_other_charset(line):
        raise ValueError("A part of the form names a charset other than UTF-8.")
    return parse_header_parameters(line)


# Django has no hook for this. It ignores headers for which this function raises ValueError.
multipartparser.parse_header_parameters = parse_part_header  # type: ignore[attr-defined]
