"""The vendor's resources over HTTP: create, read, list, change and delete."""

import re

import pytest
from django.db import connection
from django.test import Client

from licensing.models import License, LicenseTemplate, LicensingProduct, ProductModule, Token
from licensing.tests.conftest import BASE, NAMESPACE, info, item, items, xml
from licensing.tests.conftest import make_one_of_each as make_rows  # noqa: F401
from work.models import Incident

# Creating and reading


def test_it_creates_a_product(api):
    answer = api.post("product", name="Photo", version="1.2", licensingInfo="Enter your number.", color="blue")

    assert answer.status_code == 200
    made = item(answer)
    assert re.fullmatch("P[A-Z0-9]{8}", made.pop("number"))
    assert made == {
        "type": "Product",
        "active": "true",
        "name": "Photo",
        "version": "1.2",
        "licensingInfo": "Enter your number.",
        "licenseeAutoCreate": "false",
        "clearMarkOnValidation": "true",
        "color": "blue",
        "inUse": "false",
    }


def test_it_returns_a_module(seeded_api):
    made = item(seeded_api.get("productmodule/M1"))

    assert made == {
        "type": "ProductModule",
        "number": "M1",
        "active": "true",
        "name": "Updates",
        "licensingModel": "Subscription",
        "productNumber": "P1",
        "inUse": "true",
    }


def test_it_creates_a_template(seeded_api):
    answer = seeded_api.post(
        "licensetemplate",
        productModuleNumber="M1",
        number="E2",
        name="Year",
        licenseType="TIMEVOLUME",
        timeVolume=1,
        timeVolumePeriod="YEAR",
        price="5",
        currency="EUR",
        automatic="false",
        hidden="true",
    )

    assert item(answer) == {
        "type": "LicenseTemplate",
        "number": "E2",
        "active": "true",
        "name": "Year",
        "licenseType": "TIMEVOLUME",
        "hidden": "true",
        "timeVolume": "1",
        "timeVolumePeriod": "YEAR",
        "price": "5.00",
        "currency": "EUR",
        "automatic": "false",
        "hideLicenses": "false",
        "productModuleNumber": "M1",
        "productModuleName": "Updates",
        "inUse": "false",
    }


def test_it_returns_a_licensee(seeded_api):
    assert item(seeded_api.get("licensee/I1")) == {
        "type": "Licensee",
        "number": "I1",
        "active": "true",
        "name": "Ada",
        "markedForTransfer": "false",
        "productNumber": "P1",
        "inUse": "true",
    }


def test_a_license_gets_the_terms_of_its_template(seeded_api):
    assert item(seeded_api.get("license/L1")) == {
        "type": "License",
        "number": "L1",
        "active": "true",
        "name": "Month",
        "hidden": "false",
        "timeVolume": "1",
        "timeVolumePeriod": "MONTH",
        "startDate": "2026-11-01T00:00:00.000Z",
        "licenseeNumber": "I1",
        "licenseTemplateNumber": "E1",
        "licenseType": "TIMEVOLUME",
        "productModuleNumber": "M1",
    }


def test_a_license_keeps_its_terms_when_the_template_changes(seeded_api):
    seeded_api.post("licensetemplate/E1", timeVolume=9)

    assert item(seeded_api.get("license/L1"))["timeVolume"] == "1"


def test_it_responds_in_xml_unless_json_is_requested(seeded_api):
    headers = {"Authorization": seeded_api.headers["Authorization"]}

    for accept in ({}, {"Accept": "application/xml"}, {"Accept": "*/*"}, {"Accept": "text/html"}):
        answer = Client().get(BASE + "licensee/I1", headers=headers | accept)
        assert answer["Content-Type"] == "application/xml; charset=utf-8"
        (found,) = xml(answer).iter(f"{NAMESPACE}item")
        assert found.attrib == {"type": "Licensee"}
        assert {each.attrib["name"]: each.text for each in found}["number"] == "I1"
        (page,) = xml(answer).iter(f"{NAMESPACE}items")
        assert page.attrib == {
            "pagenumber": "0",
            "itemsnumber": "1",
            "totalpages": "1",
            "totalitems": "1",
            "hasnext": "false",
        }


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/json, text/plain, */*", "json"),
        ("APPLICATION/JSON; charset=utf-8", "json"),
        ("application/xml;q=0.9, application/json", "json"),
        ("application/xml, application/json;q=0.5", "xml"),
        ("application/json;q=0", "xml"),
        ("application/jsonp", "xml"),
        ("*/*", "xml"),
    ],
)
def test_it_responds_in_the_preferred_format(seeded_api, accept, expected):
    response = Client().get(BASE + "product/P1", headers=seeded_api.headers | {"Accept": accept})

    assert response["Content-Type"].startswith(f"application/{expected}")


# Custom properties


def test_reserved_names_are_not_saved_as_properties(seeded_api):
    seeded_api.post("license/L1", inUse="true", vendorNumber="V", licenseeNumber="I9", productModuleNumber="M9")

    assert License.objects.get().properties == {}
    assert item(seeded_api.get("license/L1"))["licenseeNumber"] == "I1"


# Changes


def test_a_change_leaves_other_fields_alone(seeded_api):
    changed = item(seeded_api.post("licensee/I1", markedForTransfer="true"))

    assert (changed["markedForTransfer"], changed["name"], changed["active"]) == ("true", "Ada", "true")


def test_a_number_may_change(seeded_api):
    assert item(seeded_api.post("licensee/I1", number="I2"))["number"] == "I2"
    assert seeded_api.get("licensee/I1").status_code == 404
    assert item(seeded_api.get("license/L1"))["licenseeNumber"] == "I2"


def test_a_license_is_added_to_its_transaction(seeded_api):
    seeded_api.post("transaction", number="T1", status="PENDING", source="SHOP", licenseeNumber="I1")
    seeded_api.post("license", licenseeNumber="I1", licenseTemplateNumber="E1", number="L2", transactionNumber="T1")

    made = item(seeded_api.get("transaction/T1"))
    assert made["licenseTransactionJoin"] == [{"transactionNumber": "T1", "licenseNumber": "L2"}]
    assert (made["status"], made["source"], made["licenseeNumber"]) == ("PENDING", "SHOP", "I1")
    assert "dateclosed" not in made
    closed = item(seeded_api.post("transaction/T1", status="CLOSED"))
    assert closed["dateclosed"] >= closed["datecreated"]


def test_creating_a_license_records_a_transaction(seeded_api):
    (noted,) = items(seeded_api.get("transaction"))

    assert (noted["source"], noted["status"]) == ("AUTO_LICENSE_CREATE", "CLOSED")
    assert [join["licenseNumber"] for join in noted["licenseTransactionJoin"]] == ["L1"]


def test_a_licensee_gets_automatic_licenses(seeded_api):
    seeded_api.post("licensetemplate/E1", automatic="true")

    seeded_api.post("licensee", productNumber="P1", number="I2")
    seeded_api.post("licensee", productNumber="P1", number="I3", markedForTransfer="true")

    (made,) = items(seeded_api.get("license", licenseeNumber="I2"))
    assert made["licenseTemplateNumber"] == "E1"
    assert items(seeded_api.get("license", licenseeNumber="I3")) == []
    assert items(seeded_api.get("transaction", licenseeNumber="I2"))[0]["source"] == "AUTO_LICENSEE_CREATE"


@pytest.mark.parametrize("form", [{"aliases": '["A1", "A2"]'}, {"aliases": "A1,A2"}, {"aliases": ["A1", "A2"]}])
def test_a_licensee_is_found_by_its_aliases(seeded_api, form):
    assert item(seeded_api.post("licensee/I1", **form))["aliases"] == '["A1", "A2"]'

    assert item(seeded_api.get("licensee/A2"))["number"] == "I1"
    assert len(items(seeded_api.get("license", licenseeNumber="A1"))) == 1
    assert "aliases" not in item(seeded_api.post("licensee/I1", aliases="[]"))
    assert seeded_api.get("licensee/A2").status_code == 404


def test_a_licensee_is_listed_once_however_many_aliases_it_has(seeded_api):
    seeded_api.post("licensee/I1", aliases="A1,A2,A3")

    for number in ("I1", "A2"):
        assert [one["number"] for one in items(seeded_api.get("licensee", licenseeNumber=number))] == ["I1"]
        assert [one["number"] for one in items(seeded_api.get("license", filter=f"licenseeNumber={number}"))] == ["L1"]


def test_an_alias_may_be_the_licensees_own_number(seeded_api):
    seeded_api.post("licensee/I1", aliases="I1,A1")

    assert seeded_api.post("licensee/I1/validate").status_code == 200
    assert len(items(seeded_api.get("licensee", number="I1"))) == 1


def test_an_alias_cannot_be_a_number_of_another_licensee(seeded_api):
    seeded_api.post("licensee", productNumber="P1", number="I2", aliases='["A1"]')

    for form in ({"number": "A1"}, {"number": "I2"}, {"aliases": '["I2"]'}, {"aliases": '["A1"]'}):
        answer = seeded_api.post("licensee/I1", **form)
        assert answer.status_code == 400
        assert info(answer)[0] == "ValidationException"


def test_numbers_of_licensees_and_api_keys_are_encrypted_in_the_database(seeded_api, with_key):
    with_key()
    seeded_api.post("licensee/I1", aliases="MINE")

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT number FROM licensing_licensee UNION ALL SELECT text FROM licensing_licenseealias"
            " UNION ALL SELECT number FROM licensing_token"
        )
        kept = [bytes(row[0]) for row in cursor.fetchall()]

    assert len(kept) == 3
    for secret in ("I1", "MINE", Token.objects.get().number):
        assert not any(secret.encode() in each for each in kept)


# Rejected requests

INVALID_REQUESTS = [
    ("product", {}, 400, "MalformedRequestException", "Product name is required"),
    ("productmodule", {"name": "M"}, 400, "MalformedRequestException", "Product number is not provided"),
    ("productmodule", {"productNumber": "P9"}, 404, "NotFoundException", "Requested product does not exist"),
    ("licensetemplate", {"name": "E"}, 400, "MalformedRequestException", "Product module number is not provided"),
    ("licensee", {}, 400, "MalformedRequestException", "Product number is not provided"),
    ("license", {"licenseTemplateNumber": "E1"}, 400, "MalformedRequestException", "Licensee number is not provided"),
    ("license", {"licenseeNumber": "I1"}, 400, "MalformedRequestException", "License template number is not provided"),
    (
        "license",
        {"licenseeNumber": "I9", "licenseTemplateNumber": "E1"},
        404,
        "NotFoundException",
        "Requested licensee does not exist",
    ),
    ("product/P9", {"name": "x"}, 404, "NotFoundException", "Requested product does not exist"),
    (
        "product",
        {"name": "x", "number": "P1"},
        400,
        "ValidationException",
        "Another product already has this number",
    ),
    ("product", {"name": "x", "active": "perhaps"}, 400, "ValidationException", "active: Must be a valid boolean."),
    (
        "productmodule",
        {"productNumber": "P1", "name": "M", "licensingModel": "Free"},
        400,
        "ValidationException",
        "licensingModel: “Free” is not a valid choice.",
    ),
    (
        "licensetemplate/E1",
        {"price": "5.00"},
        400,
        "MalformedRequestException",
        "'price' field must be accompanied with the 'currency' field",
    ),
    ("licensetemplate/E1", {"timeVolume": "0"}, 400, "ValidationException", "timeVolume: "),
    ("licensetemplate/E1", {"timeVolume": "1e3"}, 400, "ValidationException", "timeVolume: "),
    ("licensetemplate/E1", {"timeVolume": "9" * 30}, 400, "ValidationException", "timeVolume: "),
    ("license/L1", {"startDate": "yesterday"}, 400, "ValidationException", "startDate: "),
    ("licensee/I1", {"number": "a/b"}, 400, "ValidationException", "number: A number can’t contain spaces"),
    ("license", {"licenseeNumber": "I1", "licenseTemplateNumber": "E7"}, 400, "IllegalOperationException", "The "),
    ("licensee/I1", {"aliases": "[" * 100_000}, 400, "ValidationException", "aliases: "),
    ("licensee/I1", {"aliases": r'["\ud800"]'}, 400, "ValidationException", "aliases: "),
    ("licensee/I1", {"aliases": '[["A1"]]'}, 400, "ValidationException", "aliases: "),
]


@pytest.mark.parametrize(("path", "form", "status", "name", "text"), INVALID_REQUESTS)
def test_it_rejects_an_invalid_request_and_names_the_error(seeded_api, merchant, path, form, status, name, text):
    other = LicensingProduct.objects.create(merchant=merchant, number="P7", name="Other")
    module = other.modules.create(merchant=merchant, number="M7", name="M", licensing_model="MultiFeature")
    module.templates.create(merchant=merchant, number="E7", name="F", license_type="FEATURE")
    before = [list(model.objects.values()) for model in (LicensingProduct, ProductModule, LicenseTemplate, License)]

    answer = seeded_api.post(path, **form)

    assert answer.status_code == status
    assert info(answer)[0] == name
    assert info(answer)[1].startswith(text.replace("“Free”", '"Free"'))
    assert before == [
        list(model.objects.values()) for model in (LicensingProduct, ProductModule, LicenseTemplate, License)
    ]


@pytest.mark.parametrize("license_type", ["TIMEVOLUME", "FLOATING", "QUANTITY"])
def test_a_template_needs_a_quantity_for_its_license_type(seeded_api, license_type):
    answer = seeded_api.post("licensetemplate", productModuleNumber="M1", name="E", licenseType=license_type)

    assert answer.status_code == 400
    assert info(answer)[0] == "IllegalOperationException"
    assert "must have property" in info(answer)[1]


def test_quota_is_another_name_for_quantity(seeded_api):
    template = {"productModuleNumber": "M1", "number": "E2", "name": "Quota", "licenseType": "QUANTITY"}
    made = item(seeded_api.post("licensetemplate", quota=5, **template))
    license = item(seeded_api.post("license", licenseeNumber="I1", licenseTemplateNumber="E2"))

    assert (made["quantity"], made["quota"]) == ("5", "5")
    assert license["quantity"] == "5"
    assert item(seeded_api.post(f"license/{license['number']}", quota=7))["quantity"] == "7"
    assert seeded_api.post(f"license/{license['number']}", quota="many").status_code == 400


def test_it_rejects_a_body_that_is_not_a_form(seeded_api):
    answer = Client().post(BASE + "product", "{}", content_type="application/json", headers=seeded_api.headers)

    assert answer.status_code == 400
    assert info(answer)[0] == "MalformedRequestException"


def test_it_rejects_a_body_that_is_too_large(seeded_api, settings):
    settings.API_BODY_LIMIT = 100

    answer = seeded_api.post("product", name="x" * 200)

    assert answer.status_code == 413
    assert "larger than 100 bytes" in info(answer)[1]


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("product/P%00", {}),
        ("product", {"name": "a\0b"}),
        ("product", {"name": "Photo", "own": "a\0b"}),
        ("product", {"own\0": "x"}),
        ("license", {"licenseeNumber": "\0"}),
    ],
)
def test_it_rejects_nul_characters(seeded_api, path, values):
    for answer in (
        seeded_api.post(path, **values),
        seeded_api.get(path, **values),
        seeded_api.get(path, filter="name=\0"),
    ):
        assert answer.status_code == 400
        assert info(answer) == ("MalformedRequestException", "Values must not contain NUL characters.")


@pytest.mark.parametrize("path", ["paymentmethod", "bundle", "notification/N1", "licensee/I1/fly", "", "utility/x"])
def test_unknown_resources_are_not_found(seeded_api, path):
    for answer in (seeded_api.get(path), seeded_api.post(path), seeded_api.delete(path)):
        assert answer.status_code == 404
        assert info(answer)[0] == "NotFoundException"


def test_a_server_error_returns_an_info_and_is_logged(seeded_api, monkeypatch, caplog):
    monkeypatch.setattr("licensing.views.resources.paginate", lambda *args: 1 / 0)

    answer = seeded_api.get("product")

    assert answer.status_code == 500
    assert info(answer) == (
        "InternalException",
        f"Something went wrong on our side (reference {Incident.objects.get()}).",
    )
    assert "ZeroDivisionError" in caplog.text


# Lists


FILTERS = [
    ("productmodule", "productNumber=P1", 1),
    ("productmodule", "productNumber=P9", 0),
    ("licensetemplate", "productModuleNumber=M1;active=TRUE", 1),
    ("licensetemplate", "licenseType=FEATURE", 0),
    ("licensee", "productNumber=P1;markedForTransfer=false", 1),
    ("licensee", "number=I1", 1),
    ("licensee", "number=I2", 0),
    ("license", "licenseeNumber=I1", 1),
    ("license", "licenseeNumber=I2", 0),
    ("license", "active=False", 0),
    ("license", "licenseTemplateNumber=E1;productModuleNumber=M1;productNumber=P1", 1),
    ("transaction", "licenseeNumber=I1;source=AUTO_LICENSE_CREATE", 1),
    ("transaction", "status=PENDING", 0),
    ("product", "color=blue", 1),
    ("product", "color=red", 0),
]


@pytest.mark.parametrize(("path", "conditions", "count"), FILTERS)
def test_a_list_is_filtered(seeded_api, path, conditions, count):
    seeded_api.post("product/P1", color="blue")

    assert len(items(seeded_api.get(path, filter=conditions))) == count


@pytest.mark.parametrize(
    ("path", "query", "count"),
    [
        ("productmodule", {"productNumber": "P9"}, 0),
        ("licensetemplate", {"productModuleNumber": "M1"}, 1),
        ("license", {"licenseeNumber": "I2"}, 0),
        ("license", {"vendorNumber": "V1"}, 1),
    ],
)
def test_a_condition_may_be_a_query_parameter(seeded_api, path, query, count):
    assert len(items(seeded_api.get(path, **query))) == count


@pytest.mark.parametrize("conditions", ["active", "page=-1", "items=0", "items=ten", "page=" + "9" * 40])
def test_it_rejects_an_invalid_filter(seeded_api, conditions):
    answer = seeded_api.get("product", filter=conditions)

    assert answer.status_code == 400
    assert info(answer)[0] == "MalformedRequestException"


def test_the_number_of_queries_does_not_grow_with_the_list(seeded_api, django_assert_max_num_queries):
    for number in range(5):
        seeded_api.post("product", number=f"PX{number}", name="x")
        seeded_api.post("productmodule", productNumber="P1", name="x", licensingModel="Quota")
        seeded_api.post("licensetemplate", productModuleNumber="M1", name="x", licenseType="FEATURE")
        seeded_api.post("licensee", productNumber="P1", aliases=f"A{number}")
        seeded_api.post("license", licenseeNumber="I1", licenseTemplateNumber="E1")

    for path in ("product", "productmodule", "licensetemplate", "licensee", "license", "transaction"):
        with django_assert_max_num_queries(5, info=path):
            assert len(items(seeded_api.get(path))) >= 6, path
