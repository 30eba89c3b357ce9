"""What vendor logins and the roles of API keys allow."""

from base64 import b64encode

import pytest
import time_machine
from django.db.models.functions import Now
from django.test import Client
from django.urls import resolve

from licensing.models import Licensee, Role, Token, Transaction, VendorLogin
from licensing.tests.conftest import BASE, Api, info, item, items, xml
from licensing.urls import urlpatterns

# What each role allows, in addition to the roles before it.
ACTIONS: dict[Role, list[tuple[str, str, dict[str, str]]]] = {
    Role.LICENSEE: [
        ("POST", "token", {"tokenType": "SHOP", "licenseeNumber": "I1"}),
        ("POST", "licensee/I1/validate", {}),
        ("GET", "licensee/I1/validate", {}),
        ("POST", "licensee/I1/transfer", {"sourceLicenseeNumber": "I2"}),
    ],
    Role.ANALYTICS: [
        *[("GET", name, {}) for name in ("product", "productmodule", "licensetemplate", "licensee", "license")],
        *[("GET", name, {}) for name in ("token", "transaction", "utility/countries", "utility/licenseTypes")],
        ("GET", "utility/licensingModels", {}),
        *[("GET", path, {}) for path in ("product/P1", "productmodule/M1", "licensetemplate/E1", "licensee/I1")],
        *[("GET", path, {}) for path in ("license/L1", "token/{token}", "transaction/{transaction}")],
    ],
    Role.OPERATION: [
        ("POST", "licensee", {"productNumber": "P1"}),
        ("POST", "licensee/I1", {"name": "Ada"}),
        ("POST", "license", {"licenseeNumber": "I1", "licenseTemplateNumber": "E1"}),
        ("POST", "license/L1", {"active": "false"}),
        ("DELETE", "license/L1", {}),
        ("DELETE", "licensee/I1", {"forceCascade": "true"}),
    ],
    Role.MAINTENANCE: [
        ("POST", "product", {"name": "x"}),
        ("POST", "product/P1", {"name": "x"}),
        ("POST", "productmodule", {"productNumber": "P1", "name": "x", "licensingModel": "Quota"}),
        ("POST", "licensetemplate/E1", {"name": "x"}),
        ("DELETE", "product/P1", {"forceCascade": "true"}),
    ],
    Role.ADMIN: [
        ("POST", "token", {"tokenType": "APIKEY", "apiKeyRole": "ROLE_APIKEY_ADMIN"}),
        ("POST", "token", {}),
        ("POST", "transaction", {}),
    ],
}
TABLE = [(role, least, *act) for least in ACTIONS for act in ACTIONS[least] for role in Role]


@pytest.fixture
def holding(product, make_module, make_template, make_licensee, make_license):
    licensee = make_licensee("I1")
    make_license(licensee, make_template(module=make_module(number="M1"), number="E1"), number="L1")
    return licensee


def call(api, method, path, values):
    return {"GET": api.get, "POST": api.post, "DELETE": api.delete}[method](path, **values)


@pytest.mark.parametrize(("role", "least", "method", "path", "values"), TABLE)
def test_a_role_allows_only_its_own_actions(holding, make_licensee, with_key, role, least, method, path, values):
    token = Token.objects.create(merchant=holding.merchant, token_type="SHOP")  # noqa: S106
    make_licensee("I2", marked_for_transfer=True)
    path = path.format(token=token.number, transaction=Transaction.objects.get().number)

    answer = call(with_key(role), method, path, values)

    if role.reaches(least):
        assert answer.status_code in {200, 204}, answer.content
    else:
        assert answer.status_code == 403
        assert info(answer)[0] == "AccessDeniedException"


def test_every_url_is_in_the_table():
    in_table = {resolve(BASE + path).url_name for acts in ACTIONS.values() for _, path, _ in acts}

    assert in_table == {pattern.name for pattern in urlpatterns} - {"licensing-nothing"}


def test_it_asks_for_missing_credentials(holding):
    answer = Client().get(BASE + "licensee/I1")

    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == 'Basic realm="NetLicensing"'
    assert int(answer["Content-Length"]) == len(answer.content)
    assert xml(answer)[0][0].text


@pytest.mark.parametrize(
    "header",
    [
        "Basic " + b64encode(b"apiKey:00000000-0000-0000-0000-000000000000").decode(),
        "Basic " + b64encode(b"northlight.erp:wrong").decode(),
        "Basic " + b64encode(b"no colon").decode(),
        "Basic " + b64encode(b"\xff\xfe:x").decode(),
        "Basic " + b64encode(b"a\0b:x").decode(),
        "Basic !!!",
        "Basic",
    ],
)
def test_it_rejects_wrong_credentials(holding, api, header):
    answer = Client().get(BASE + "licensee/I1", headers={"Authorization": header})

    assert answer.status_code == 403


def test_a_revoked_login_cannot_sign_in(api):
    assert api.get("product").status_code == 200

    VendorLogin.objects.update(revoked_at=Now())

    assert api.get("product").status_code == 403


@pytest.mark.parametrize("change", [{"active": False}, {"expiration_time": Now()}, {"token_type": "SHOP"}])
def test_an_inactive_expired_or_shop_token_cannot_sign_in(with_key, change):
    api = with_key(Role.ADMIN)
    assert api.get("product").status_code == 200

    Token.objects.update(**change)

    assert api.get("product").status_code == 403


def test_it_records_the_last_use_of_logins_and_api_keys(api, with_key):
    api.get("product")
    with_key(Role.ADMIN).get("product")

    assert VendorLogin.objects.get().last_used_at
    assert Token.objects.get().last_used_at


def test_an_api_key_works_until_it_is_deleted(api):
    made = item(api.post("token", tokenType="APIKEY"))

    assert made["apiKeyRole"] == "ROLE_APIKEY_LICENSEE"
    assert made["vendorNumber"] == "northlight"
    assert "expirationTime" not in made
    key = Api("apiKey", made["number"])
    assert key.post("token", tokenType="SHOP", licenseeNumber="I1").status_code == 404
    assert api.delete(f"token/{made['number']}").status_code == 204
    assert key.post("token", tokenType="SHOP", licenseeNumber="I1").status_code == 403


def test_a_token_is_found_by_its_number(api):
    made = item(api.post("token"))
    api.post("token")

    assert item(api.get("token", filter=f"number={made['number']}")) == made
    assert items(api.get("token", number="x")) == []


def test_tokens_cannot_be_changed(api):
    made = item(api.post("token"))

    assert made["expirationTime"]
    assert api.post(f"token/{made['number']}", active="false").status_code == 405


def test_roles_below_admin_cannot_see_api_keys(holding, api, with_key):
    made = item(api.post("token", tokenType="APIKEY", apiKeyRole="ROLE_APIKEY_ADMIN"))
    api.post("token", tokenType="SHOP", licenseeNumber="I1")

    for role in (Role.ANALYTICS, Role.OPERATION, Role.MAINTENANCE):
        reader = with_key(role)
        assert {each["tokenType"] for each in items(reader.get("token"))} == {"SHOP"}
        assert reader.get(f"token/{made['number']}").status_code == 404


def test_a_licensees_key_creates_shop_tokens_only_for_that_licensee(holding, make_licensee, with_key):
    make_licensee("I2")
    key = with_key(licensee=holding)

    assert key.post("token", tokenType="SHOP", licenseeNumber="I1").status_code == 200
    for number in ("I2", "I3"):
        answer = key.post("token", tokenType="SHOP", licenseeNumber=number)
        assert (answer.status_code, *info(answer)) == (
            403,
            "AccessDeniedException",
            "This API key is for another licensee.",
        )


def test_requests_are_rate_limited(api, settings):
    settings.API_REQUESTS_PER_MINUTE = 2

    with time_machine.travel("2026-11-01T12:00:30Z", tick=False):
        answers = [api.get("product") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    stopped = answers[-1]
    assert info(stopped)[0] == "TooManyRequestsException"
    assert stopped["Retry-After"] == "30"


# Other vendors


@pytest.mark.parametrize("path", ["product/P1", "productmodule/M1", "licensetemplate/E1", "licensee/I1", "license/L1"])
def test_another_vendors_objects_are_not_found(holding, outsider, make_api, path):
    other = make_api(outsider)

    for answer in (other.get(path), other.post(path, name="x"), other.delete(path, forceCascade="true")):
        assert answer.status_code == 404
        assert info(answer)[0] == "NotFoundException"
    assert items(other.get(path.partition("/")[0])) == []
    assert Licensee.objects.get().name == ""


def test_nothing_can_be_created_under_another_vendors_objects(holding, outsider, make_api):
    other = make_api(outsider)

    assert other.post("productmodule", productNumber="P1", name="x", licensingModel="Quota").status_code == 404
    assert other.post("licensee", productNumber="P1").status_code == 404
    assert other.post("license", licenseeNumber="I1", licenseTemplateNumber="E1").status_code == 404
    assert other.post("token", tokenType="SHOP", licenseeNumber="I1").status_code == 404
    assert other.post("transaction", licenseeNumber="I1").status_code == 404


def test_two_vendors_may_use_the_same_numbers(holding, outsider, make_api):
    other = make_api(outsider)

    assert item(other.post("product", number="P1", name="Theirs"))["name"] == "Theirs"
    assert item(other.post("licensee", productNumber="P1", number="I1"))["number"] == "I1"


def test_a_number_in_a_url_is_not_logged(api, caplog):
    api.get("licensee/KW-SECRET-NUMBER")

    assert "/core/v2/rest/licensee/…" in caplog.text
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize(
    "path", ["licensee//KW-SECRET", "/licensee/KW-SECRET", "rest/licensee/KW-SECRET", "KW-SECRET"]
)
def test_a_number_in_a_mistyped_url_is_not_logged(api, caplog, path):
    api.get(path)
    api.client.get(f"{BASE.removesuffix('rest/')}{path}")

    assert "Not Found: /core/" in caplog.text
    assert "SECRET" not in caplog.text


def test_the_url_of_a_list_is_logged_in_full(api, caplog):
    api.get("licensee", filter="x")

    assert "Bad Request: /core/v2/rest/licensee" in caplog.text


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "TRACE"])
def test_it_rejects_other_methods(api, method):
    answer = api.client.generic(method, BASE + "licensee", headers=api.headers)

    assert answer.status_code == 405
    assert info(answer)[0] == "MethodNotAllowedException"
