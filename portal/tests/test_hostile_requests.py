"""Requests that no normal browser sends: each gets a response, and never a 500."""

import os
import subprocess
import sys
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.messages.storage.cookie import CookieStorage
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.db import OperationalError
from django.template.response import TemplateResponse
from django.test import Client, RequestFactory
from django.urls import resolve, reverse

from api.tests.factories import make_api, pay
from fulfillment.tests.factories import make_product
from merchants.models import User
from portal.staff.site import SupportSite

PATHS = ["/", "/accounts/login/", "/admin/", "/lost/northlight/", "/nowhere", "/healthz", "/static/nowhere.css"]
PATHS += ["/api/v1/orders/", "/api/docs/", "/core/v2/rest/product"]
NASTY = ["\0", "a\0b", "x" * 500, "9" * 40, "-1", "\ud7ff", "[", "1,2", "2026-13-45", "%", "\u202e"]
LOOKUPS = ["", "__isnull", "__in", "__regex", "__range"]


def make_rows(merchant):
    pay(make_api(merchant), make_product(merchant))


@pytest.mark.parametrize("path", PATHS)
def test_it_rejects_a_foreign_host(client, merchant, path):
    client.raise_request_exception = False

    assert client.get(path, headers={"host": "evil.example"}).status_code == 400


@pytest.fixture
def stella(client, db):
    client.force_login(User.objects.create_superuser("stella@keywell.example", "correct horse"))
    client.raise_request_exception = False
    return client


def hostile_queries(model_admin):
    """Queries for an admin list: each column with each lookup, the list's own filters, and nonsense."""
    columns = [field.attname for field in model_admin.opts.concrete_fields]
    names = [column + lookup for column in columns for lookup in LOOKUPS]
    for one in model_admin.list_filter:
        one = one[0] if isinstance(one, tuple) else one  # a column with its own filter class
        name = one if isinstance(one, str) else one.parameter_name
        names += [name + lookup for lookup in LOOKUPS]
    for number, name in enumerate(dict.fromkeys(names)):
        yield {name: NASTY[number % len(NASTY)]}
    for name in ("o", "p", "q", "all", "_to_field", "nothing__at__all"):
        for value in NASTY[::2]:
            yield {name: value}


def get_status(user, url):
    """The status of an admin page, or the error it raises, without running the middleware."""
    request = RequestFactory().get(url)
    request.user = user
    setattr(request, "_messages", CookieStorage(request))  # noqa: B010 (private to Django, so the stubs don't have it)
    try:
        response = resolve(request.path).func(request)
        if isinstance(response, TemplateResponse):
            response.render()
    except (SuspiciousOperation, BadRequest):
        return 400
    except Exception as error:
        return repr(error)
    return response.status_code


@pytest.mark.parametrize("model", admin.site._registry, ids=lambda model: model._meta.label)
def test_no_admin_filter_causes_a_server_error(stella, monkeypatch, model):
    page = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    user = User.objects.get(is_superuser=True)
    urls = [
        f"{page}?{urlencode(query, errors='surrogatepass')}" for query in hostile_queries(admin.site._registry[model])
    ]
    statuses = {url: stella.get(url).status_code for url in urls[-1:]}
    # Skip the header and the menu: they take longer than the list, and don't depend on the query.
    monkeypatch.setattr(SupportSite, "each_context", lambda *_: {})

    statuses |= {url: get_status(user, url) for url in urls[:-1]}

    assert {url: status for url, status in statuses.items() if status not in {200, 302, 400}} == {}


GUESSES = ["secret_hash__startswith=a", "secret_hash=a", "merchant__slug__startswith=n", "prefix__gt=a"]


@pytest.mark.parametrize("query", GUESSES)
def test_admin_lists_reject_filters_they_do_not_offer(stella, query):
    assert stella.get(f"/admin/merchants/apikey/?{query}").status_code == 400


def test_admin_lists_accept_filters_they_offer(stella, merchant):
    assert stella.get(f"/admin/merchants/apikey/?merchant__id__exact={merchant.pk}").status_code == 200


@pytest.mark.parametrize("path", ["/accounts/login/", "/healthz", "/api/v1/orders/", "/nowhere", "/static/portal.css"])
def test_every_response_has_security_headers(client, db, path):
    headers = client.get(path).headers

    assert "camera=()" in headers["Permissions-Policy"]
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


@pytest.mark.parametrize(("base", "prefix"), [("https://keys.example.com", "__Host-"), ("http://127.0.0.1:8000", "")])
def test_cookies_have_the_host_prefix_with_https(base, prefix):
    code = (
        "import django; django.setup(); from django.conf import settings as s;"
        "from portal.account.devices import COOKIE;"
        "print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME, COOKIE, s.SESSION_COOKIE_SECURE, s.MESSAGE_STORAGE)"
    )
    environment = os.environ | {"BASE_URL": base, "DJANGO_SETTINGS_MODULE": "portal.settings"}
    command = [sys.executable, "-c", code]
    output = subprocess.check_output(command, cwd=settings.BASE_DIR, env=environment, text=True)

    session, csrf, device, secure, storage = output.split()
    assert [session, csrf, device] == [f"{prefix}sessionid", f"{prefix}csrftoken", f"{prefix}device"]
    assert secure == str(bool(prefix)) and "session" in storage


def test_signing_in_and_a_message_set_no_other_cookies(client, merchant):
    client.post("/accounts/login/", {"login": "owner@northlight.example", "password": "correct horse"})
    client.get("/team/")

    assert {name.removeprefix("__Host-") for name in client.cookies} <= {"sessionid", "csrftoken", "device"}


# Failed attempts to sign in

LOGIN = "/accounts/login/"
OWNER = "owner@northlight.example"


def fail(client, times, network="192.0.2.1", email=OWNER):
    for _ in range(times):
        client.post(LOGIN, {"login": email, "password": "wrong"}, REMOTE_ADDR=network)


def sign_in(client, network="198.51.100.7"):
    client.post(LOGIN, {"login": OWNER, "password": "correct horse"}, REMOTE_ADDR=network)
    return "_auth_user_id" in client.session


def test_an_unknown_device_cannot_lock_an_owner_out(client, merchant):
    fail(Client(), 10)

    assert sign_in(client)


def test_five_failures_lock_their_network_address(client, merchant):
    fail(client, 5)

    assert not sign_in(client, "192.0.2.1")


def test_failures_from_many_networks_lock_out_only_unknown_devices(client, merchant):
    assert sign_in(client)
    client.post("/accounts/logout/")
    for number in range(12):
        fail(Client(), 5, network=f"203.0.113.{number}")

    assert not sign_in(Client(), "192.0.2.99")
    assert sign_in(client)


def test_five_failures_on_a_known_device_lock_it(client, merchant):
    assert sign_in(client)
    client.post("/accounts/logout/")
    fail(client, 5)

    assert not sign_in(client)


def test_a_device_is_known_for_one_user_only(client, merchant, make_member):
    assert sign_in(client)
    client.post("/accounts/logout/")
    other = make_member().user.email
    for number in range(12):
        fail(client, 5, network=f"203.0.113.{number}", email=other)

    client.post(LOGIN, {"login": other, "password": "correct horse"}, REMOTE_ADDR="192.0.2.99")
    assert "_auth_user_id" not in client.session
    assert OWNER not in client.cookies["device"].value


@pytest.mark.parametrize("forged", ["", "x", "abc.def:1:sig"])
def test_a_forged_device_cookie_is_ignored(client, merchant, forged):
    client.cookies["device"] = forged
    fail(client, 5)

    assert not sign_in(client, "192.0.2.1")


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/api/v1/orders/", "application/problem+json"), ("/core/v2/rest/product", "xml"), ("/lost/northlight/", "html")],
)
def test_it_returns_503_with_retry_after_while_the_database_is_down(api, merchant, monkeypatch, caplog, path, kind):
    def execute(*_):
        raise OperationalError("the database system is in recovery mode")

    with monkeypatch.context() as context:
        context.setattr("django.db.backends.utils.CursorWrapper.execute", execute)
        context.setattr("runtime.postgresql.base.DatabaseWrapper._run", execute)  # written statements
        if "core" in path:
            api.credentials(HTTP_AUTHORIZATION="Basic YXBpS2V5OjEyMzQtNTY3OC05MDEy")
        response = api.get(path)

    assert (response.status_code, response.get("Retry-After")) == (503, "5")
    assert kind in response["Content-Type"]
    assert not [record for record in caplog.records if record.exc_info]


def test_the_schema_is_generated_once(client, monkeypatch):
    for name in ("yaml", "json"):
        client.get(f"/api/schema/?format={name}")
    monkeypatch.setattr("drf_spectacular.generators.SchemaGenerator.get_schema", None)

    assert b"/api/v1/payments/" in client.get("/api/schema/?format=yaml").content
    assert client.get("/api/schema/?format=json").json()["paths"]
