"""Decompress vendors' answers and decode them to text.

Content counts more than labels, because small vendors often send a wrong Content-Type.
"""

import codecs
import re
import zlib

from django.utils.translation import gettext

UTF_8 = "utf-8"
# Python's codecs also include some that take seconds for 64 KiB (punycode), or aren't text at all (zlib).
NAMES = {
    **dict.fromkeys(["utf-8", "utf8", "us-ascii", "ascii"], UTF_8),
    **{name: name for name in ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]},
    **{name: name for name in ["utf-16le", "utf-16be", "utf-32le", "utf-32be"]},
    **{f"{prefix}{page}": f"cp{page}" for page in range(1250, 1259) for prefix in ("windows-", "cp", "win-")},
    **{f"iso-8859-{part}": f"iso8859-{part}" for part in range(1, 17) if part != 12},
    **dict.fromkeys(["latin1", "latin-1"], "iso8859-1"),
    **dict.fromkeys(["ibm866", "cp866"], "cp866"),
    **{
        name: name
        for name in ["koi8-r", "koi8-u", "shift-jis", "euc-jp", "euc-kr", "big5", "gbk", "gb2312", "gb18030"]
    },
}
# UTF-32 comes first, because its mark begins with that of UTF-16.
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: UTF_8,
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
PROLOG = re.compile(rb"""\s*<\?xml\b[^>]{0,200}?\bencoding\s*=\s*["']([\w.:-]{1,40})["']""")
META = re.compile(rb"""<meta\b[^>]{0,200}?\bcharset\s*=\s*["']?([\w.:-]{1,40})""", re.I)
HEADER = re.compile(r"""charset\s*=\s*["']?([\w.:-]{1,40})""", re.I)
# How much of a page browsers search for its charset.
META_BYTES = 1024

GZIP_MAGIC = b"\x1f\x8b\x08"
GZIP, ZLIB, RAW_DEFLATE = 31, 15, -15  # zlib's `wbits`
# Content-Encodings that we recognize but can't unpack.
UNSUPPORTED = {"br", "zstd", "compress", "x-compress", "dcb", "dcz"}


class Unreadable(ValueError):
    """The bytes can't be decoded to text. The message is for the merchant."""


def unpack(body: bytes, content_encoding: str, limit: int) -> tuple[bytes, str]:
    """Decompress at most `limit` bytes. Return them, and the name of the compression if it couldn't be undone."""
    packing = content_encoding.strip().lower()
    if packing in UNSUPPORTED:
        return body, packing
    if "," in packing:
        return body, "several times"
    if body.startswith(GZIP_MAGIC):
        unpacked = _inflate(body, GZIP, limit)
        return (body, "gzip") if unpacked is None else (unpacked, "")
    if packing == "deflate":
        # Some servers leave out the zlib header. Mislabeled text fits neither format.
        for format in (ZLIB, RAW_DEFLATE):
            if (unpacked := _inflate(body, format, limit)) is not None:
                return unpacked, ""
    return body, ""


def _inflate(body: bytes, wbits: int, limit: int) -> bytes | None:
    """Return the decompressed bytes, or None if they are damaged or incomplete."""
    inflate = zlib.decompressobj(wbits)
    try:
        unpacked = inflate.decompress(body, limit)
    except zlib.error:
        return None
    return unpacked if inflate.eof or len(unpacked) == limit else None


def decode(body: bytes, content_type: str) -> str:
    """Decode by the byte order mark, XML prolog or HTML meta element, or Content-Type, or else as UTF-8.

    Raises Unreadable.
    """
    candidates = [codec for name in _declared(body, content_type) if (codec := NAMES.get(_normalize(name)))]
    for codec in [*candidates, UTF_8]:
        try:
            # Licenses don't contain byte order marks. Scripts send one for each source file that begins with it.
            return body.decode(codec).replace("\ufeff", "")
        except UnicodeError:
            pass
    names = " or ".join(dict.fromkeys([*candidates, UTF_8])).upper()
    raise Unreadable(gettext("The answer is not valid {names}.").format(names=names))


def _declared(body: bytes, content_type: str) -> list[str]:
    """The charsets that an answer declares, most reliable first."""
    marked = [name for mark, name in BYTE_ORDER_MARKS.items() if body.startswith(mark)][:1]
    inside = PROLOG.match(body, 0, META_BYTES) or META.search(body, 0, META_BYTES)
    format_address = [inside[1].decode("latin-1")] if inside else []
    # A declaration that reads as ASCII isn't in UTF-16 or UTF-32.
    format_address = [name for name in format_address if not re.match("utf-?(16|32)", name, re.I)]
    header = HEADER.search(content_type)
    return [*marked, *format_address, *([header[1]] if header else [])]


def _normalize(name: str) -> str:
    return name.lower().replace("_", "-")


def storable(text: str) -> str:
    """Replace what PostgreSQL doesn't store: NUL characters and unpaired surrogates."""
    return text.replace("\0", "�").encode(errors="replace").decode()
