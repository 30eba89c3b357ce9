"""Error answers as the official clients' own tests record them.

`java` are the service tests of NetLicensingClient-java, `js` those of NetLicensingClient-javascript, `c++` those of
NetLicensingClient-cpp; `ours` is recorded nowhere. They record every error with status 400. The documentation has 404
for a missing thing, no client looks at the difference, and we follow the documentation.
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

# Who records it, what is sent, the status, the id, and how the text begins.
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
    # Their status is 400.
    ("js", "GET", "product/NONE", {}, 404, NOT_FOUND, "Requested product does not exist"),
    ("js", "GET", "licensee/NONE", {}, 404, NOT_FOUND, "Requested licensee does not exist"),
    ("js", "GET", "license/NONE", {}, 404, NOT_FOUND, "Requested license does not exist"),
    ("js", "GET", "token/NONE", {}, 404, NOT_FOUND, "Requested token does not exist"),
    # They write licenseTemplate and productModule there; java writes it as we do.
    ("js", "GET", "licensetemplate/NONE", {}, 404, NOT_FOUND, "Requested license template does not exist"),
    ("js", "GET", "productmodule/NONE", {}, 404, NOT_FOUND, "Requested product module does not exist"),
    ("java", "DELETE", "productmodule/NONE", {}, 404, NOT_FOUND, "Requested product module does not exist"),
    ("java", "DELETE", "licensetemplate/NONE", {}, 404, NOT_FOUND, "Requested license template does not exist"),
    ("java", "DELETE", "licensee/NONE", {}, 404, NOT_FOUND, "Requested licensee does not exist"),
    ("java", "DELETE", "license/NONE", {}, 404, NOT_FOUND, "Requested license does not exist"),
    ("java", "DELETE", "token/NONE", {}, 404, NOT_FOUND, "Requested token does not exist"),
    ("ours", "GET", "transaction/NONE", {}, 404, NOT_FOUND, "Requested transaction does not exist"),
    ("java", "GET", "non-existing-service", {}, 404, NOT_FOUND, "There is no such resource here."),
    # They refuse whatever is deleted without forceCascade, we what something else needs.
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
def chain(api):
    return api


@pytest.mark.parametrize("row", RECORDED, ids=lambda row: " ".join([row[0], row[1], row[2], *row[3]]))
def test_errors_are_as_recorded(chain, row):
    _, method, path, form, status, id, text = row

    response = getattr(chain, method.lower())(path, **form)

    (told,) = response.json()["infos"]["info"]
    assert (response.status_code, told["id"], told["type"]) == (status, id, "ERROR")
    assert told["value"].startswith(text)
    assert response.json()["items"] is None


def test_they_say_the_same_in_xml(chain):
    headers = {"Authorization": chain.headers["Authorization"]}

    for _, method, path, form, status, id, text in RECORDED:
        response = getattr(chain, method.lower())(path, **form)
        chain.headers.pop("Accept")
        answer = getattr(chain, method.lower())(path, **form)
        chain.headers = headers | {"Accept": "application/json"}

        (told,) = xml(answer).iter(f"{NAMESPACE}info")
        assert (answer.status_code, told.attrib) == (status, {"id": id, "type": "error"})
        assert (told.text, told.text.startswith(text)) == (info(response)[1], True)


def test_a_token_for_the_shop_without_a_licensee_has_two_infos(chain):
    """Recorded by java and js."""
    response = chain.post("token", tokenType="SHOP")

    assert response.status_code == 400
    assert [(told["id"], told["type"], told["value"]) for told in response.json()["infos"]["info"]] == [
        (MALFORMED, "ERROR", "Malformed token request"),
        ("TokenValidation", "ERROR", "Property 'licenseeNumber' not found"),
    ]


def test_who_is_refused(with_key):
    """Recorded by the Python client as 403; its id is made up there."""
    for key, status, id in ((Api("a", "b"), 403, "AccessDeniedException"), (with_key(), 403, "AccessDeniedException")):
        response = key.get("product")
        assert (response.status_code, info(response)[0]) == (status, id)


# Prices


def test_what_is_free_needs_no_currency(chain):
    for form in ({"price": "0"}, {"price": "0.00"}, {"price": "0", "currency": ""}):
        made = chain.post("licensetemplate", **(TEMPLATE | form))
        assert made.status_code == 200, made.content
    free = chain.post("license", licenseeNumber="I1", licenseTemplateNumber="E1", price="0")

    properties = {each["name"]: each["value"] for each in free.json()["items"]["item"][0]["property"]}
    # The Java client reads no price without a currency.
    assert (properties["price"], properties["currency"]) == ("0.00", "EUR")


def test_what_was_free_and_is_not_any_more_needs_a_currency(chain):
    chain.post("licensetemplate/E1", price="0")

    assert info(chain.post("licensetemplate/E1", price="5")) == (MALFORMED, PRICE)
    assert chain.post("licensetemplate/E1", price="5", currency="USD").status_code == 200
    assert info(chain.post("licensetemplate/E1", currency="")) == (MALFORMED, PRICE)
    assert chain.post("licensetemplate/E1", price="0", currency="").status_code == 200
    assert chain.post("licensetemplate/E1", price="").status_code == 200
