"""Error responses as recorded by the tests of the official clients.

`java` means the service tests of NetLicensingClient-java, `js` for those of NetLicensingClient-javascript, `c++`
for those of NetLicensingClient-cpp; `ours` isn't recorded anywhere. The recorded status is always 400. The
documentation says 404 for a missing object; no client distinguishes the two, and we follow the documentation.
"""

import pytest

from licensing.tests.conftest import NAMESPACE, Api, info, sign_in, xml

pytestmark = pytest.mark.django_db

MALFORMED, NOT_FOUND, ILLEGAL = "MalformedRequestException", "NotFoundException", "IllegalOperationException"
UNEXPECTED, INVALID = "UnexpectedValueException", "ValidationException"
TEMPLATE = {"productModuleNumber": "M1", "name": "E", "licenseType": "FEATURE"}
NAMELESS = TEMPLATE | {"name": ""}

PRICE = "'price' field must be accompanied with the 'currency' field"
CURRENCY = "'currency' field can not be used without the 'price' field"

# The clients that record it, the request, the status, the ID, and the beginning of the text.
RECORDED = [
    ("java, js", "POST", "product", {}, 400, MALFORMED, "Product name is required"),
    ("java, js", "POST", "productmodule", {"name": "M"}, 400, MALFORMED, "Product number is not provided"),
    ("java, js", "POST", "productmodule", {"productNumber": "P1"}, 400, MALFORMED, "Product module name is required"),
    ("java, js", "POST", "licensetemplate", {"name": "E"}, 400, MALFORMED, "Product module number is not provided"),
    ("java, js", "POST", "licensetemplate", NAMELESS, 400, MALFORMED, "License template name is required"),
    ("java, js", "POST", "licensetemplate", TEMPLATE | {"price": "10"}, 400, MALFORMED, PRICE),
    ("java, js", "POST", "licensetemplate", TEMPLATE | {"currency": "EUR"}, 400, MALFORMED, CURRENCY),
    ("java, js", "POST", "licensee", {}, 400, MALFORMED, "Product number is not provided"),
    ("java, js", "POST", "license", {}, 400, MALFORMED, "Licensee number is not provided"),
    ("java", "POST", "license", {"licenseeNumber": "I1"}, 400, MALFORMED, "License template number is not provided"),
    (
        "java",
        "POST",
        "licensetemplate/E1",
        {"licenseType": "TIMEVOLUME"},
        400,
        ILLEGAL,
        "License template of type 'TIMEVOLUME' must have property 'timeVolume' specified.",
    ),
    (
        "ours",
        "POST",
        "licensetemplate/E1",
        {"licenseType": "FLOATING"},
        400,
        ILLEGAL,
        "License template of type 'FLOATING' must have property 'maxSessions' specified.",
    ),
    (
        "ours",
        "POST",
        "licensetemplate/E1",
        {"licenseType": "QUANTITY"},
        400,
        ILLEGAL,
        "License template of type 'QUANTITY' must have property 'quantity' specified.",
    ),
    # The recorded status is 400.
    ("js", "GET", "product/NONE", {}, 404, NOT_FOUND, "Requested product does not exist"),
    ("js", "GET", "licensee/NONE", {}, 404, NOT_FOUND, "Requested licensee does not exist"),
    ("js", "GET", "license/NONE", {}, 404, NOT_FOUND, "Requested license does not exist"),
    ("js", "GET", "token/NONE", {}, 404, NOT_FOUND, "Requested token does not exist"),
    # js writes “licenseTemplate” and “productModule” in these texts; java writes them as we do.
    ("js", "GET", "licensetemplate/NONE", {}, 404, NOT_FOUND, "Requested license template does not exist"),
    ("js", "GET", "productmodule/NONE", {}, 404, NOT_FOUND, "Requested product module does not exist"),
    ("java", "DELETE", "productmodule/NONE", {}, 404, NOT_FOUND, "Requested product module does not exist"),
    ("java", "DELETE", "licensetemplate/NONE", {}, 404, NOT_FOUND, "Requested license template does not exist"),
    ("java", "DELETE", "licensee/NONE", {}, 404, NOT_FOUND, "Requested licensee does not exist"),
    ("java", "DELETE", "license/NONE", {}, 404, NOT_FOUND, "Requested license does not exist"),
    ("java", "DELETE", "token/NONE", {}, 404, NOT_FOUND, "Requested token does not exist"),
    ("ours", "GET", "transaction/NONE", {}, 404, NOT_FOUND, "Requested transaction does not exist"),
    ("java", "GET", "non-existing-service", {}, 404, NOT_FOUND, "There is no such resource here."),
    # They reject every deletion without forceCascade; we only reject it for objects in use.
    ("java", "DELETE", "product/P1", {}, 400, UNEXPECTED, "Unexpected value of parameter 'forceCascade'"),
    ("java", "DELETE", "licensee/I1", {}, 400, UNEXPECTED, "Unexpected value of parameter 'forceCascade'"),
    (
        "java, js",
        "POST",
        "licensee/I1/validate",
        {"productNumber": "P2"},
        400,
        UNEXPECTED,
        "Unexpected value of parameter 'productNumber'",
    ),
    (
        "c++",
        "POST",
        "licensee/NONE/validate",
        {},
        404,
        NOT_FOUND,
        "Requested licensee does not exist and the productNumber is not provided",
    ),
    ("ours", "POST", "licensee/I1/transfer", {}, 400, MALFORMED, "Source licensee number is not provided"),
    (
        "ours",
        "POST",
        "licensee/I1/transfer",
        {"sourceLicenseeNumber": "NONE"},
        404,
        NOT_FOUND,
        "Requested source licensee does not exist",
    ),
    (
        "ours",
        "POST",
        "licensee/I1/transfer",
        {"sourceLicenseeNumber": "I1"},
        400,
        ILLEGAL,
        "A licensee cannot transfer licenses to itself",
    ),
    ("ours", "POST", "product/P1", {"active": "perhaps"}, 400, INVALID, "active: "),
]


def make_rows(merchant):
    api = sign_in(merchant, "rows")
    api.post("product", number="P1", name="Photo")
    api.post("product", number="P2", name="Video")
    api.post("productmodule", productNumber="P1", number="M1", name="Features", licensingModel="MultiFeature")
    api.post("licensetemplate", number="E1", **TEMPLATE)
    api.post("licensee", productNumber="P1", number="I1")
    api.post("license", licenseeNumber="I1", licenseTemplateNumber="E1", number="L1")


@pytest.fixture
def seeded_api(api):
    return api


@pytest.mark.parametrize("row", RECORDED, ids=lambda row: " ".join([row[0], row[1], row[2], *row[3]]))
def test_errors_match_the_recorded_ones(seeded_api, row):
    _, method, path, form, status, id, text = row

    response = getattr(seeded_api, method.lower())(path, **form)

    (error,) = response.json()["infos"]["info"]
    assert (response.status_code, error["id"], error["type"]) == (status, id, "ERROR")
    assert error["value"].startswith(text)
    assert response.json()["items"] is None


def test_errors_are_the_same_in_xml(seeded_api):
    headers = {"Authorization": seeded_api.headers["Authorization"]}

    for _, method, path, form, status, id, text in RECORDED:
        response = getattr(seeded_api, method.lower())(path, **form)
        seeded_api.headers.pop("Accept")
        answer = getattr(seeded_api, method.lower())(path, **form)
        seeded_api.headers = headers | {"Accept": "application/json"}

        (error,) = xml(answer).iter(f"{NAMESPACE}info")
        assert (answer.status_code, error.attrib) == (status, {"id": id, "type": "error"})
        assert (error.text, error.text.startswith(text)) == (info(response)[1], True)


def test_a_shop_token_without_a_licensee_gets_two_infos(seeded_api):
    """Recorded by java and js."""
    response = seeded_api.post("token", tokenType="SHOP")

    assert response.status_code == 400
    assert [(error["id"], error["type"], error["value"]) for error in response.json()["infos"]["info"]] == [
        (MALFORMED, "ERROR", "Malformed token request"),
        ("TokenValidation", "ERROR", "Property 'licenseeNumber' not found"),
    ]


def test_denied_callers_get_a_403(with_key):
    """The Python client records the status 403; the ID in its tests is invented."""
    for key, status, id in ((Api("a", "b"), 403, "AccessDeniedException"), (with_key(), 403, "AccessDeniedException")):
        response = key.get("product")
        assert (response.status_code, info(response)[0]) == (status, id)


# Prices


def test_a_price_of_zero_needs_no_currency(seeded_api):
    for form in ({"price": "0"}, {"price": "0.00"}, {"price": "0", "currency": ""}):
        made = seeded_api.post("licensetemplate", **(TEMPLATE | form))
        assert made.status_code == 200, made.content
    free = seeded_api.post("license", licenseeNumber="I1", licenseTemplateNumber="E1", price="0")

    properties = {each["name"]: each["value"] for each in free.json()["items"]["item"][0]["property"]}
    # The Java client ignores a price without a currency.
    assert (properties["price"], properties["currency"]) == ("0.00", "EUR")


def test_changing_a_price_from_zero_needs_a_currency(seeded_api):
    seeded_api.post("licensetemplate/E1", price="0")

    assert info(seeded_api.post("licensetemplate/E1", price="5")) == (MALFORMED, PRICE)
    assert seeded_api.post("licensetemplate/E1", price="5", currency="USD").status_code == 200
    assert info(seeded_api.post("licensetemplate/E1", currency="")) == (MALFORMED, PRICE)
    assert seeded_api.post("licensetemplate/E1", price="0", currency="").status_code == 200
    assert seeded_api.post("licensetemplate/E1", price="").status_code == 200
