"""Limits on request bodies: UTF-8, and no longer than the view expects."""

import pytest
from django.test import RequestFactory

from merchants.models import Member
from portal.charsets import names_other_charset
from portal.wsgi import application

CODECS = ["punycode", "hex", "zlib", "bz2", "base64", "idna", "undefined", "rot13", "utf-7", "utf-16", "latin-1", "x"]
Role = Member.Role
PLACES = {
    "page": "/lost/shop/",
    "sign-in": "/accounts/login/",
    "static": "/static/tokens.css",
    "api": "/api/v1/payments/",
    "licensing": "/core/v2/rest/licensee",
    "nowhere": "/nowhere",
}


@pytest.mark.django_db
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("codec", CODECS)
def test_it_rejects_every_charset_but_utf_8_and_ascii(place, codec):
    for content_type in (
        f"multipart/form-data; boundary=x; charset={codec}",
        f'application/x-www-form-urlencoded; charset="{codec.upper()}"',
        f"application/json; charset*={codec}''utf-8",
        f"text/plain; other*={codec}''a",
        f"text/plain; other*0*={codec}'; other*1*='a",
    ):
        response = call(PLACES[place], content_type, b"--x\r\n\r\na\r\n--x--")

        assert response.status == 415, content_type
        assert "UTF-8" in response.text


@pytest.mark.django_db
def test_the_error_has_the_content_type_of_each_api():
    assert call("/api/v1/pools/", "text/plain; charset=hex").content_type == "application/problem+json"
    assert call("/core/v2/rest/product", "text/plain; charset=hex").content_type == "application/xml"
    assert "<netlicensing" in call("/core/v2/rest/product", "text/plain; charset=hex").text
    assert call("/orders/", "text/plain; charset=hex").content_type.startswith("text/html")


@pytest.mark.parametrize("header", ["", "text/plain", "text/plain; charset=UTF-8", 'a/b; charset="us-ascii"; c=d'])
def test_it_accepts_utf_8_and_ascii_in_any_spelling(header):
    assert not names_other_charset(header)


@pytest.mark.parametrize(
    ("parameter", "names"),
    [
        ("name=Ada", ["Ada"]),
        ("name*=utf-8''%C3%84da", ["Äda"]),
        ("name*=''Ada", []),
        ("name*=punycode''Ada", []),
        ("name*=hex''Ada", []),
        ("name*0*=punycode''; name*1*=Ada", []),
        ("name*0=punycode; name*1*=''Ada", []),
    ],
)
def test_form_parts_cannot_choose_a_codec_either(parameter, names):
    """A thousand parts with a kilobyte of punycode each would take over a second to decode."""
    body = f"--x\r\ncontent-disposition: form-data; {parameter}\r\n\r\nByron\r\n--x--"
    request = RequestFactory().post("/", body.encode(), content_type="multipart/form-data; boundary=x")

    assert list(request.POST) == names


@pytest.mark.django_db
@pytest.mark.parametrize("place", [place for place in PLACES if place != "static"])
def test_it_rejects_a_long_body_where_no_file_is_expected(client, place, settings):
    settings.API_BODY_LIMIT = 1000

    response = client.post(PLACES[place], b"a" * 1001, content_type="application/x-www-form-urlencoded")

    assert response.status_code == (404 if place == "nowhere" else 413)


@pytest.mark.parametrize("route", ["setup/add/", "emails/sender/", "pools/{pool}/import/"])
def test_it_accepts_a_long_body_where_a_file_is_expected(make_member, client, make_pool, route, settings):
    settings.API_BODY_LIMIT = 100
    client.force_login(make_member(Role.OWNER).user)

    response = client.post(f"/{route.format(pool=make_pool().pk)}", {"text": "KEY-1\n" * 100})

    assert response.status_code in {200, 302}


class WsgiResponse:
    """The response of the WSGI application, called as a web server would: the test client would change the request."""

    def __init__(self, path: str, content_type: str, body: bytes) -> None:
        environ = RequestFactory().generic("POST", path, body).environ | {"CONTENT_TYPE": content_type}
        self.text = b"".join(application(environ, self.start)).decode()  # type: ignore[arg-type]

    def start(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status = int(status.split()[0])
        self.content_type = dict(headers)["Content-Type"]


def call(path: str, content_type: str, body: bytes = b"a") -> WsgiResponse:
    return WsgiResponse(path, content_type, body)
