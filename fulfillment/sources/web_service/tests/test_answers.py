"""Answers are read by their content first, because small vendors often send a wrong Content-Type or charset."""

import gzip
import zlib
from contextlib import suppress
from time import process_time

import pytest

from orders.models import ActivationCode
from outbound.encodings import NAMES, Unreadable, decode
from outbound.models import OutgoingRequest
from outbound.outgoing_requests import MAX_ANSWER_BYTES

CODE = "AAAA-BBBB-7Q2M"


@pytest.fixture
def sold(make_product):
    return make_product(source=None, sku="PHOTO-PRO")


@pytest.fixture
def buy(pay, work, sold, make_service, receiver):
    """Sell a unit; return the code found in the answer, or the error."""

    def buy(body, content_type="", headers=None, **fields):
        make_service(sold, **fields)
        body = body if isinstance(body, bytes) else body.encode()
        receiver.respond = lambda received: (200, {"Content-Type": content_type} | (headers or {}), body)
        pay(sold)
        work()
        saved = ActivationCode.objects.first()
        return saved.code if saved else OutgoingRequest.objects.latest("pk").error

    return buy


LABELS = ["", "text/html", "text/html; charset=UTF-8", "text/plain", "application/json", "text/xml", "image/png"]


@pytest.mark.parametrize("content_type", LABELS)
@pytest.mark.parametrize("body", [CODE, f"\ufeff{CODE}\r\n", f"\ufeff\ufeff{CODE}", f'"{CODE}"'])
def test_a_bare_code_is_accepted_with_any_content_type(buy, content_type, body):
    assert buy(body, content_type) == CODE


@pytest.mark.parametrize("body", ["<pre>AAAA-&amp;-1111</pre>\n", "<CODE>AAAA-&amp;-1111</CODE>"])
def test_a_code_in_a_single_element_is_accepted(buy, body):
    assert buy(body, "text/html") == "AAAA-&-1111"


PAGE = "The answer is a web page instead of a code."
DOCUMENT = "Enter the path of the code in it."


@pytest.mark.parametrize(
    ("body", "content_type", "error"),
    [
        ("<html><body>Sorry</body></html>", "text/plain", PAGE),
        ("<!DOCTYPE html><p>Sorry", "", PAGE),
        ('<?xml version="1.0"?>\n<html xmlns="http://www.w3.org/1999/xhtml"/>', "text/plain", PAGE),
        ("<br />\n<b>Warning</b>: undefined index", "text/html", PAGE),
        (f"Notice: 7<br>{CODE}", "text/html", PAGE),
        (f"<pre>Notice: 7</pre>{CODE}", "text/html", PAGE),
        ('{"error": "no such product"}', "text/html", f"The answer is JSON. {DOCUMENT}"),
        ("null", "application/json", f"The answer is JSON. {DOCUMENT}"),
        ("[]", "text/json", f"The answer is JSON. {DOCUMENT}"),
        ("<error>7</error>", "application/xml", f"The answer is XML. {DOCUMENT}"),
    ],
)
def test_a_page_or_document_is_not_a_bare_code(buy, body, content_type, error):
    assert buy(body, content_type) == error


@pytest.mark.parametrize("content_type", ["text/html", "text/json", "text/plain; charset=utf-8"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_number_in_json_keeps_all_its_digits(buy, content_type, mark):
    body = f'{mark}{{"key": 9223372036854775809}}'

    assert buy(body, content_type, answer="json", path="$.key") == "9223372036854775809"


XML = '<?xml version="1.0" encoding="{}"?><r><k>Ключ-7</k></r>'


@pytest.mark.parametrize("content_type", ["text/xml", "text/xml; charset=utf-8", "text/xml; charset=nonsense"])
@pytest.mark.parametrize("charset", ["windows-1251", "KOI8-R", "iso-8859-5", "UTF-8"])
def test_xml_is_decoded_by_the_charset_of_its_prolog(buy, content_type, charset):
    assert buy(XML.format(charset).encode(charset), content_type, answer="xml", path="k") == "Ключ-7"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("Ü-1".encode("utf-16"), "text/plain; charset=windows-1252"),
        ("Ü-1".encode("utf-8-sig"), "text/plain; charset=windows-1252"),
        ("Ü-1".encode("windows-1252"), "text/plain; CHARSET='Windows-1252'"),
        ("Ü-1".encode("utf-16-le"), "text/plain; charset=utf-16le"),
        ("Ü-1".encode(), "text/plain; charset=x-unknown"),
        ("Ü-1".encode(), "text/plain; charset=ascii"),
    ],
)
def test_it_detects_the_charset(body, content_type):
    assert decode(body, content_type) == "Ü-1"


def test_a_page_is_decoded_by_the_charset_of_its_meta_element():
    page = '<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">Ошибка'

    assert decode(page.encode("windows-1251"), "text/html; charset=utf-8") == page


def test_a_prolog_that_the_bytes_contradict_is_ignored():
    for wrong in ("utf-8", "utf-16"):
        text = XML.format(wrong)
        assert decode(text.encode("windows-1251"), "text/xml; charset=windows-1251") == text


@pytest.mark.parametrize("name", ["punycode", "idna", "unicode_escape", "utf-7", "zlib", "hex", "rot13", "undefined"])
@pytest.mark.parametrize("place", ["header", "prolog"])
def test_codecs_that_are_not_charsets_are_ignored(name, place):
    declared = f'<?xml version="1.0" encoding="{name}"?>' if place == "prolog" else ""
    body = declared.encode() + b"-" + b"zz-" * 20_000
    started = process_time()

    assert decode(body, f"text/plain; charset={name}") == body.decode()
    with pytest.raises(Unreadable, match=r"^The answer is not valid UTF-8\.$"):
        decode(body + b"\xff", f"text/plain; charset={name}")

    # Punycode would take seconds. This is CPU time, so a busy machine doesn't matter.
    assert process_time() - started < 0.5


def test_each_charset_decodes_64_kib_quickly():
    for name in NAMES:
        started = process_time()
        with suppress(Unreadable):
            decode(b"\xe4\xba" * (MAX_ANSWER_BYTES // 2), f"text/plain; charset={name}")
        assert process_time() - started < 0.5, name


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("", gzip.compress),  # not even labeled
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("gzip", bytes),  # only labeled
        ("deflate", bytes),
    ],
)
def test_an_unrequested_compression_is_undone(buy, encoding, pack):
    assert buy(pack(CODE.encode()), headers={"Content-Encoding": encoding}) == CODE


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate])
def test_a_decompression_bomb_is_not_unpacked_beyond_the_limit(buy, pack):
    bomb = pack(b"A" * 40_000_000)
    assert len(bomb) < MAX_ANSWER_BYTES
    encoding = "gzip" if pack is gzip.compress else "deflate"

    assert buy(bomb, headers={"Content-Encoding": encoding}) == "The answer is longer than 64 KiB."


@pytest.mark.parametrize(
    ("body", "encoding", "reported"),
    [
        (b"\x0b\x05\x80AAAA-BBBB\x03", "br", "br"),
        (b"\x28\xb5\x2f\xfd\x04", "zstd", "zstd"),
        (gzip.compress(gzip.compress(b"A")), "gzip, gzip", "several times"),
        (gzip.compress(CODE.encode())[:-6], "gzip", "gzip"),  # cut off
    ],
)
def test_an_unsupported_compression_is_named(buy, body, encoding, reported):
    error = f"The answer is compressed ({reported}). Send it uncompressed, as our Accept-Encoding asks."

    assert buy(body, headers={"Content-Encoding": encoding}) == error
