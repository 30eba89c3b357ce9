"""Web pages that call the API from a browser."""

import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from licensing.cors import PREFLIGHT, read_origins
from licensing.tests.conftest import BASE, FORM

pytestmark = pytest.mark.django_db

APP = "https://app.example.com"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def allowed(settings):
    settings.LICENSING_CORS_ORIGINS = frozenset({APP, "http://localhost:3000"})


@pytest.fixture
def browser():
    return Client(raise_request_exception=False)


def preflight(browser, path=BASE + "product", origin=APP, method="POST"):
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,netlicensing-origin,x-requested-with",
    }
    return browser.options(path, headers=headers)


def cors_headers(response):
    return {name for name in response.headers if name.startswith("Access-Control-")}


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("path", ["product", "licensee/I-1/validate", "licensee/I-1/transfer", "nothing"])
def test_a_preflight_needs_no_credentials(allowed, browser, path, method):
    response = preflight(browser, BASE + path, method=method)

    assert (response.status_code, response.content) == (204, b"")
    assert response["Access-Control-Allow-Origin"] == APP
    assert {name: response[name] for name in PREFLIGHT} == PREFLIGHT
    assert method in response["Access-Control-Allow-Methods"]
    for header in ("Authorization", "Content-Type", "X-Requested-With", "NetLicensing-Origin"):
        assert header in response["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in response
    assert "Origin" in response["Vary"]


def test_pages_can_read_responses(allowed, api):
    for origin in (APP, "http://localhost:3000"):
        response = api.client.get(BASE + "product", headers=api.headers | {"Origin": origin})

        assert (response.status_code, response["Access-Control-Allow-Origin"]) == (200, origin)
        assert "Access-Control-Allow-Credentials" not in response
        assert "Origin" in response["Vary"]


def wrong_password():
    return {"Authorization": f"Basic {b64encode(b'a:b').decode()}"}


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (lambda client, headers: client.get(BASE + "product", headers={"Origin": APP}), 401),
        (lambda client, headers: client.get(BASE + "product", headers={"Origin": APP} | wrong_password()), 403),
        (lambda client, headers: client.get(BASE + "product/P9", headers=headers), 404),
        (lambda client, headers: client.post(BASE + "product", "", content_type=FORM, headers=headers), 400),
        (lambda client, headers: client.put(BASE + "product", "", content_type=FORM, headers=headers), 405),
        (lambda client, headers: client.generic("POST", BASE + "product", b"x", "a/b; charset=hex"), 415),
        (lambda client, headers: client.post(BASE + "product", b"x" * 2**20 + b"x", content_type=FORM), 413),
    ],
    ids=lambda value: value if isinstance(value, int) else "",
)
def test_pages_can_read_errors(allowed, api, request_, status):
    api.client.defaults["HTTP_ORIGIN"] = APP

    response = request_(api.client, headers=api.headers | {"Origin": APP})

    assert response.status_code == status
    assert response["Access-Control-Allow-Origin"] == APP


def test_pages_can_read_server_errors(allowed, api, monkeypatch):
    monkeypatch.setattr("licensing.views.resources.paginate", lambda *_: 1 / 0)

    response = api.client.get(BASE + "product", headers=api.headers | {"Origin": APP})

    assert (response.status_code, response["Access-Control-Allow-Origin"]) == (500, APP)


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "*", "", "https://app.example.com.evil.example", "http://app.example.com"],
)
def test_other_origins_are_not_allowed(allowed, browser, api, origin):
    refused = preflight(browser, origin=origin)
    answer = api.client.get(BASE + "product", headers=api.headers | {"Origin": origin})

    assert (refused.status_code, cors_headers(refused), cors_headers(answer)) == (401, set(), set())
    assert "Origin" in answer["Vary"]


@pytest.mark.parametrize("path", ["/api/v1/pools/", "/accounts/login/", "/core/v2/restful", "/core/", "/"])
def test_other_urls_are_not_allowed(allowed, browser, path):
    assert not cors_headers(preflight(browser, path))
    assert not cors_headers(browser.get(path, headers={"Origin": APP}))


def test_it_is_off_by_default(browser, api):
    assert not cors_headers(preflight(browser))
    answer = api.client.get(BASE + "product", headers=api.headers | {"Origin": APP})
    assert not cors_headers(answer) and "Origin" not in answer.get("Vary", "")


# The setting


def test_it_normalizes_origins_to_what_browsers_send():
    values = [" https://App.example.com ", "http://localhost:3000", "http://[::1]:8080", "capacitor://localhost", ""]

    assert read_origins("X", values) == {
        "https://app.example.com",
        "http://localhost:3000",
        "http://[::1]:8080",
        "capacitor://localhost",
    }


@pytest.mark.parametrize(
    "value",
    ["*", "null", "app.example.com", "https://app.example.com/", "https://a.example/path", "https://*.example.com",
     "https://user@a.example", "https://a.example b", "https://a.example:443", "http://a.example:80", "https://"],
)  # fmt: skip
def test_an_invalid_origin_is_rejected_with_the_name_of_the_setting(value):
    with pytest.raises(ImproperlyConfigured, match=r"LICENSING_CORS_ORIGINS: “.*” isn't an origin\. Use"):
        read_origins("LICENSING_CORS_ORIGINS", ["https://app.example.com", value])


def test_keywell_does_not_start_with_an_invalid_origin():
    environment = os.environ | {"LICENSING_CORS_ORIGINS": "https://app.example.com,*"}
    run = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )

    assert run.returncode != 0
    assert "LICENSING_CORS_ORIGINS: “*” isn't an origin." in run.stderr
