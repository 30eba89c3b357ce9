"""The vendor's things over HTTP: made, read, listed, changed, deleted."""

import re

import pytest
from django.db import connection
from django.test import Client

from licensing.models import License, LicenseTemplate, LicensingProduct, ProductModule, Token
from licensing.tests.conftest import BASE, NAMESPACE, info, item, items, xml
from licensing.tests.conftest import make_one_of_each as make_rows  # noqa: F401
from work.models import Incident

# What is made, and what is told of it


def test_a_product(api):
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


def test_a_module(chain):
    made = item(chain.get("productmodule/M1"))

    assert made == {
        "type": "ProductModule",
        "number": "M1",
        "active": "true",
        "name": "Updates",
        "licensingModel": "Subscription",
        "productNumber": "P1",
        "inUse": "true",
    }


def test_a_template(chain):
    answer = chain.post(
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


def test_a_licensee(chain):
    assert item(chain.get("licensee/I1")) == {
        "type": "Licensee",
        "number": "I1",
        "active": "true",
        "name": "Ada",
        "markedForTransfer": "false",
        "productNumber": "P1",
        "inUse": "true",
    }


def test_a_license_has_its_templates_terms(chain):
    assert item(chain.get("license/L1")) == {
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


def test_a_license_keeps_its_terms_when_the_template_changes(chain):
    chain.post("licensetemplate/E1", timeVolume=9)

    assert item(chain.get("license/L1"))["timeVolume"] == "1"


def test_xml_is_what_is_answered_unless_json_is_asked_for(chain):
    headers = {"Authorization": chain.headers["Authorization"]}

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
    ("accept", "answered"),
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
def test_of_both_it_is_what_is_wanted_more(chain, accept, answered):
    response = Client().get(BASE + "product/P1", headers=chain.headers | {"Accept": accept})

    assert response["Content-Type"].startswith(f"application/{answered}")


# Properties of the vendor's own


def test_names_that_are_ours_are_no_properties(chain):
    chain.post("license/L1", inUse="true", vendorNumber="V", licenseeNumber="I9", productModuleNumber="M9")

    assert License.objects.get().properties == {}
    assert item(chain.get("license/L1"))["licenseeNumber"] == "I1"


# Changes


def test_a_change_leaves_alone_what_it_does_not_name(chain):
    changed = item(chain.post("licensee/I1", markedForTransfer="true"))

    assert (changed["markedForTransfer"], changed["name"], changed["active"]) == ("true", "Ada", "true")


def test_a_number_may_change(chain):
    assert item(chain.post("licensee/I1", number="I2"))["number"] == "I2"
    assert chain.get("licensee/I1").status_code == 404
    assert item(chain.get("license/L1"))["licenseeNumber"] == "I2"


def test_a_license_names_its_transaction(chain):
    chain.post("transaction", number="T1", status="PENDING", source="SHOP", licenseeNumber="I1")
    chain.post("license", licenseeNumber="I1", licenseTemplateNumber="E1", number="L2", transactionNumber="T1")

    made = item(chain.get("transaction/T1"))
    assert made["licenseTransactionJoin"] == [{"transactionNumber": "T1", "licenseNumber": "L2"}]
    assert (made["status"], made["source"], made["licenseeNumber"]) == ("PENDING", "SHOP", "I1")
    assert "dateclosed" not in made
    closed = item(chain.post("transaction/T1", status="CLOSED"))
    assert closed["dateclosed"] >= closed["datecreated"]


def test_making_licenses_is_noted(chain):
    (noted,) = items(chain.get("transaction"))

    assert (noted["source"], noted["status"]) == ("AUTO_LICENSE_CREATE", "CLOSED")
    assert [join["licenseNumber"] for join in noted["licenseTransactionJoin"]] == ["L1"]


def test_a_licensee_gets_automatic_licenses(chain):
    chain.post("licensetemplate/E1", automatic="true")

    chain.post("licensee", productNumber="P1", number="I2")
    chain.post("licensee", productNumber="P1", number="I3", markedForTransfer="true")

    (made,) = items(chain.get("license", licenseeNumber="I2"))
    assert made["licenseTemplateNumber"] == "E1"
    assert items(chain.get("license", licenseeNumber="I3")) == []
    assert items(chain.get("transaction", licenseeNumber="I2"))[0]["source"] == "AUTO_LICENSEE_CREATE"


@pytest.mark.parametrize("said", [{"aliases": '["A1", "A2"]'}, {"aliases": "A1,A2"}, {"aliases": ["A1", "A2"]}])
def test_a_licensee_is_found_by_its_aliases(chain, said):
    assert item(chain.post("licensee/I1", **said))["aliases"] == '["A1", "A2"]'

    assert item(chain.get("licensee/A2"))["number"] == "I1"
    assert len(items(chain.get("license", licenseeNumber="A1"))) == 1
    assert "aliases" not in item(chain.post("licensee/I1", aliases="[]"))
    assert chain.get("licensee/A2").status_code == 404


def test_a_licensee_is_listed_once_however_many_aliases_it_has(chain):
    chain.post("licensee/I1", aliases="A1,A2,A3")

    for number in ("I1", "A2"):
        assert [one["number"] for one in items(chain.get("licensee", licenseeNumber=number))] == ["I1"]
        assert [one["number"] for one in items(chain.get("license", filter=f"licenseeNumber={number}"))] == ["L1"]


def test_an_alias_may_be_the_licensees_own_number(chain):
    chain.post("licensee/I1", aliases="I1,A1")

    assert chain.post("licensee/I1/validate").status_code == 200
    assert len(items(chain.get("licensee", number="I1"))) == 1


def test_an_alias_is_nobody_elses_number(chain):
    chain.post("licensee", productNumber="P1", number="I2", aliases='["A1"]')

    for said in ({"number": "A1"}, {"number": "I2"}, {"aliases": '["I2"]'}, {"aliases": '["A1"]'}):
        answer = chain.post("licensee/I1", **said)
        assert answer.status_code == 400
        assert info(answer)[0] == "ValidationException"


def test_numbers_of_licensees_and_keys_are_not_readable_in_the_database(chain, with_key):
    with_key()
    chain.post("licensee/I1", aliases="MINE")

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT number FROM licensing_licensee UNION ALL SELECT text FROM licensing_licenseealias"
            " UNION ALL SELECT number FROM licensing_token"
        )
        kept = [bytes(row[0]) for row in cursor.fetchall()]

    assert len(kept) == 3
    for secret in ("I1", "MINE", Token.objects.get().number):
        assert not any(secret.encode() in each for each in kept)


# What is refused

REFUSED = [
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


@pytest.mark.parametrize(("path", "form", "status", "name", "text"), REFUSED)
def test_what_is_wrong_is_refused_and_named(chain, merchant, path, form, status, name, text):
    other = LicensingProduct.objects.create(merchant=merchant, number="P7", name="Other")
    module = other.modules.create(merchant=merchant, number="M7", name="M", licensing_model="MultiFeature")
    module.templates.create(merchant=merchant, number="E7", name="F", license_type="FEATURE")
    before = [list(model.objects.values()) for model in (LicensingProduct, ProductModule, LicenseTemplate, License)]

    answer = chain.post(path, **form)

    assert answer.status_code == status
    assert info(answer)[0] == name
    assert info(answer)[1].startswith(text.replace("“Free”", '"Free"'))
    assert before == [
        list(model.objects.values()) for model in (LicensingProduct, ProductModule, LicenseTemplate, License)
    ]


@pytest.mark.parametrize("license_type", ["TIMEVOLUME", "FLOATING", "QUANTITY"])
def test_a_template_says_how_much(chain, license_type):
    answer = chain.post("licensetemplate", productModuleNumber="M1", name="E", licenseType=license_type)

    assert answer.status_code == 400
    assert info(answer)[0] == "IllegalOperationException"
    assert "must have property" in info(answer)[1]


def test_a_quota_is_a_quantity(chain):
    template = {"productModuleNumber": "M1", "number": "E2", "name": "Quota", "licenseType": "QUANTITY"}
    made = item(chain.post("licensetemplate", quota=5, **template))
    license = item(chain.post("license", licenseeNumber="I1", licenseTemplateNumber="E2"))

    assert (made["quantity"], made["quota"]) == ("5", "5")
    assert license["quantity"] == "5"
    assert item(chain.post(f"license/{license['number']}", quota=7))["quantity"] == "7"
    assert chain.post(f"license/{license['number']}", quota="many").status_code == 400


def test_a_body_that_is_no_form(chain):
    answer = Client().post(BASE + "product", "{}", content_type="application/json", headers=chain.headers)

    assert answer.status_code == 400
    assert info(answer)[0] == "MalformedRequestException"


def test_a_body_without_end(chain, settings):
    settings.API_BODY_LIMIT = 100

    answer = chain.post("product", name="x" * 200)

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
def test_nul_is_refused(chain, path, values):
    for answer in (chain.post(path, **values), chain.get(path, **values), chain.get(path, filter="name=\0")):
        assert answer.status_code == 400
        assert info(answer) == ("MalformedRequestException", "Values must not contain NUL characters.")


@pytest.mark.parametrize("path", ["paymentmethod", "bundle", "notification/N1", "licensee/I1/fly", "", "utility/x"])
def test_what_there_is_not(chain, path):
    for answer in (chain.get(path), chain.post(path), chain.delete(path)):
        assert answer.status_code == 404
        assert info(answer)[0] == "NotFoundException"


def test_a_failure_of_ours_is_an_envelope_and_in_the_log(chain, monkeypatch, caplog):
    monkeypatch.setattr("licensing.views.resources.paginate", lambda *args: 1 / 0)

    answer = chain.get("product")

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
def test_a_list_is_filtered(chain, path, conditions, count):
    chain.post("product/P1", color="blue")

    assert len(items(chain.get(path, filter=conditions))) == count


@pytest.mark.parametrize(
    ("path", "query", "count"),
    [
        ("productmodule", {"productNumber": "P9"}, 0),
        ("licensetemplate", {"productModuleNumber": "M1"}, 1),
        ("license", {"licenseeNumber": "I2"}, 0),
        ("license", {"vendorNumber": "V1"}, 1),
    ],
)
def test_a_condition_may_stand_alone(chain, path, query, count):
    assert len(items(chain.get(path, **query))) == count


@pytest.mark.parametrize("conditions", ["active", "page=-1", "items=0", "items=ten", "page=" + "9" * 40])
def test_a_filter_that_cannot_be_read(chain, conditions):
    answer = chain.get("product", filter=conditions)

    assert answer.status_code == 400
    assert info(answer)[0] == "MalformedRequestException"


def test_a_list_takes_as_many_queries_for_many(chain, django_assert_max_num_queries):
    for number in range(5):
        chain.post("product", number=f"PX{number}", name="x")
        chain.post("productmodule", productNumber="P1", name="x", licensingModel="Quota")
        chain.post("licensetemplate", productModuleNumber="M1", name="x", licenseType="FEATURE")
        chain.post("licensee", productNumber="P1", aliases=f"A{number}")
        chain.post("license", licenseeNumber="I1", licenseTemplateNumber="E1")

    for path in ("product", "productmodule", "licensetemplate", "licensee", "license", "transaction"):
        with django_assert_max_num_queries(5, info=path):
            assert len(items(chain.get(path))) >= 6, path
