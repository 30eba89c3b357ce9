"""Validation: which licensee it finds, what it returns, and what it writes."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.apps import apps
from django.db import connection
from django.test.utils import CaptureQueriesContext

from licensing.models import License, Licensee, LicenseTemplate, LicensingProduct, ProductModule, Role, Transaction
from licensing.tests.conftest import NAMESPACE, info, item, items, xml
from licensing.validation import MODELS, read_holding, validate

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def now():
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def subscription(make_template, make_module):
    return make_template(module=make_module("Subscription", number="M-SUB", name="Updates"))


@pytest.fixture
def credits(make_template, make_module):
    return make_template("QUANTITY", module=make_module("PayPerUse", number="M-PPU"), quantity=10)


@pytest.fixture
def feature(make_template, make_module):
    return make_template("FEATURE", module=make_module("MultiFeature", number="M-MF"), number="F-1", name="Pro")


@pytest.fixture
def licensee(make_licensee, make_license, subscription, credits, feature):
    licensee = make_licensee("I-1")
    make_license(licensee, subscription, start_date=NOW)
    make_license(licensee, credits)
    make_license(licensee, feature)
    return licensee


# The response


def test_the_response_has_one_item_per_module(with_key, licensee):
    response = with_key().post("licensee/I-1/validate")

    assert response.status_code == 200
    assert items(response) == [
        {
            "type": "ProductModuleValidation",
            "productModuleNumber": "M-SUB",
            "productModuleName": "Updates",
            "licensingModel": "Subscription",
            "valid": "true",
            "warningLevel": "GREEN",
            "expires": "2026-04-10T12:00:00.000Z",
        },
        {
            "type": "ProductModuleValidation",
            "productModuleNumber": "M-PPU",
            "productModuleName": "PayPerUse",
            "licensingModel": "PayPerUse",
            "valid": "true",
            "warningLevel": "GREEN",
            "remainingQuantity": "10",
        },
        {
            "type": "ProductModuleValidation",
            "productModuleNumber": "M-MF",
            "productModuleName": "MultiFeature",
            "licensingModel": "MultiFeature",
            "valid": "true",
            "warningLevel": "GREEN",
            "F-1": [{"valid": "true", "featureName": "Pro"}],
        },
    ]


def test_it_responds_in_xml_too(with_key, licensee):
    key = with_key()
    key.headers["Accept"] = "application/xml"

    root = xml(key.post("licensee/I-1/validate"))

    assert root.attrib == {"ttl": "2026-03-11T12:00:00.000Z"}
    (feature,) = root.iter(f"{NAMESPACE}list")
    assert feature.attrib == {"name": "F-1"}
    assert [prop.text for prop in feature] == ["true", "Pro"]


def test_it_accepts_an_empty_body_without_a_content_type(with_key, licensee):
    key = with_key()

    response = key.client.post("/core/v2/rest/licensee/I-1/validate", b"", content_type="", headers=key.headers)

    assert response.status_code == 200


def test_get_still_works_with_a_warning(with_key, licensee):
    response = with_key().get("licensee/I-1/validate", productModuleNumber0="M-PPU", usedQuantity0=3)

    assert items(response)[1]["remainingQuantity"] == "7"
    assert info(response)[0] == "methodIsDeprecated"
    assert response.json()["infos"]["info"][0]["type"] == "WARNING"


def test_a_response_is_valid_for_one_day(with_key, licensee):
    assert with_key().post("licensee/I-1/validate").json()["ttl"] == "2026-03-11T12:00:00.000Z"


@pytest.mark.parametrize("begins", [NOW - timedelta(hours=12), NOW + timedelta(hours=12)])
def test_a_response_is_valid_until_a_license_starts_or_expires(with_key, licensee, begins):
    times = License.objects.filter(template__license_type="TIMEVOLUME")
    times.update(start_date=begins, time_volume=1, time_volume_period="DAY")

    assert with_key().post("licensee/I-1/validate").json()["ttl"] == "2026-03-11T00:00:00.000Z"


def test_an_expired_license_does_not_shorten_the_ttl(with_key, licensee):
    License.objects.filter(template__license_type="TIMEVOLUME").update(start_date=NOW - timedelta(days=90))

    assert with_key().post("licensee/I-1/validate").json()["ttl"] == "2026-03-11T12:00:00.000Z"


def test_numbered_parameters_apply_to_their_modules(with_key, make_licensee, make_license, make_template, make_module):
    modules = [make_module("PayPerUse", number=f"M{number}") for number in range(12)]
    licensee = make_licensee("I-2")
    for module in modules:
        make_license(licensee, make_template("QUANTITY", module=module, quantity=100))
    form = {f"productModuleNumber{number}": f"M{number}" for number in range(12)}
    form |= {f"usedQuantity{number}": str(number) for number in range(12)}

    response = with_key().post("licensee/I-2/validate", **form)

    assert [each["remainingQuantity"] for each in items(response)] == [str(100 - number) for number in range(12)]


def test_it_ignores_unknown_parameters(with_key, licensee):
    form = {"vendorNumber": "V", "forOfflineUse": "true", "x0": "1", "usedQuantity7": "5", "7": "x", "": "y"}

    response = with_key().post("licensee/I-1/validate", **form)

    assert items(response)[1]["remainingQuantity"] == "10"


def test_it_writes_nothing_if_a_module_is_unknown(with_key, licensee):
    form = {"productModuleNumber0": "M-PPU", "usedQuantity0": 3, "productModuleNumber1": "M-NONE"}

    response = with_key().post("licensee/I-1/validate", **form)

    assert (response.status_code, info(response)[0]) == (404, "NotFoundException")
    assert not License.objects.filter(used_quantity__gt=0).exists()


def test_it_rejects_a_module_named_twice(with_key, licensee):
    form = {"productModuleNumber0": "M-PPU", "usedQuantity0": 3, "productModuleNumber1": "M-PPU", "usedQuantity1": 4}

    response = with_key().post("licensee/I-1/validate", **form)

    assert (response.status_code, info(response)[0]) == (400, "MalformedRequestException")
    assert not License.objects.filter(used_quantity__gt=0).exists()


# Inactive objects


def test_no_module_is_valid_for_an_inactive_licensee(with_key, licensee):
    Licensee.objects.update(active=False)

    response = with_key().post("licensee/I-1/validate", productModuleNumber0="M-PPU", usedQuantity0=3)

    assert [(each["valid"], each["warningLevel"]) for each in items(response)] == [("false", "RED")] * 3
    assert not License.objects.filter(used_quantity__gt=0).exists()


@pytest.mark.parametrize("model", [LicenseTemplate, ProductModule, LicensingProduct])
def test_inactive_offers_stay_valid_for_licensees_who_have_them(with_key, licensee, model):
    model.objects.update(active=False)

    response = with_key().post("licensee/I-1/validate")

    assert [each["valid"] for each in items(response)] == ["true"] * 3


# Finding or creating the licensee


def test_it_accepts_an_alias_as_the_number(with_key, api, licensee):
    api.post("licensee/I-1", aliases="ada@example.com")

    assert with_key().post("licensee/ada@example.com/validate").status_code == 200


def test_an_unknown_licensee_is_not_found(with_key, licensee):
    response = with_key().post("licensee/I-NEW/validate")

    assert response.status_code == 404
    assert info(response) == (
        "NotFoundException",
        "Requested licensee does not exist and the productNumber is not provided",
    )


@pytest.fixture
def auto_create(product, subscription):
    product.licensee_auto_create = True
    product.save()
    LicenseTemplate.objects.filter(pk=subscription.pk).update(automatic=True)


def test_it_creates_an_unknown_licensee_if_the_product_allows_it(with_key, auto_create):
    response = with_key().post("licensee/I-NEW/validate", productNumber="P1", licenseeName="Ada")

    assert item(response)["valid"] == "true"
    made = Licensee.objects.with_number("I-NEW").get()
    assert (made.name, made.product.number, made.licenses.count()) == ("Ada", "P1", 1)
    assert Transaction.objects.get().source == "AUTO_LICENSEE_CREATE"


@pytest.mark.parametrize(
    ("change", "form", "text"),
    [
        ({"licensee_auto_create": False}, {"productNumber": "P1"}, "Requested licensee does not exist"),
        ({"active": False}, {"productNumber": "P1"}, "Requested licensee does not exist"),
        ({}, {"productNumber": "P-NONE"}, "Requested product does not exist"),
    ],
)
def test_it_does_not_create_a_licensee_otherwise(with_key, auto_create, change, form, text):
    LicensingProduct.objects.update(**change or {"version": "2"})

    response = with_key().post("licensee/I-NEW/validate", **form)

    assert (response.status_code, info(response)) == (404, ("NotFoundException", text))
    assert not Licensee.objects.exists()


@pytest.mark.parametrize(
    ("number", "form"),
    [
        ("x" * 101, {}),
        ("a b", {}),
        ("a;b", {}),
        ("I-NEW", {"licenseeName": "x" * 201}),
        ("I-NEW", {"licenseeName": "x\0"}),
        ("I-NEW", {"productNumber": "P\0"}),
    ],
)
def test_it_rejects_an_invalid_number_or_name(with_key, auto_create, number, form):
    response = with_key().post(f"licensee/{number}/validate", **{"productNumber": "P1"} | form)

    assert (response.status_code, info(response)[0]) == (400, "MalformedRequestException")
    assert not Licensee.objects.exists()


def test_it_creates_no_licensee_if_a_parameter_is_wrong(with_key, auto_create):
    form = {"productNumber": "P1", "productModuleNumber0": "M-NONE"}

    assert with_key().post("licensee/I-NEW/validate", **form).status_code == 404

    assert not Licensee.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_sixteen_concurrent_validations_create_one_licensee(in_threads, with_key, auto_create):
    keys = [with_key() for _ in range(16)]

    answers = in_threads(lambda key: key.post("licensee/I-NEW/validate", productNumber="P1"), keys, threads=16)

    assert [item(answer)["valid"] for answer in answers] == ["true"] * 16
    assert Licensee.objects.get().licenses.count() == Transaction.objects.count() == 1


# Adoption


@pytest.fixture
def purchased(licensee):
    Licensee.objects.filter(pk=licensee.pk).update(marked_for_transfer=True)
    return licensee


def is_marked(licensee):
    licensee.refresh_from_db()
    return licensee.marked_for_transfer


def test_validating_with_a_licensees_key_adopts_a_purchased_licensee(with_key, purchased):
    with_key().post("licensee/I-1/validate")

    assert not is_marked(purchased)


@pytest.mark.parametrize("role", [role for role in Role if role != Role.LICENSEE])
def test_validating_with_a_vendors_key_adopts_nothing(with_key, purchased, role):
    with_key(role).post("licensee/I-1/validate")

    assert is_marked(purchased)


def test_validating_with_a_vendors_login_adopts_nothing(api, purchased):
    api.post("licensee/I-1/validate")

    assert is_marked(purchased)


def test_a_dry_run_adopts_nothing(with_key, purchased):
    with_key().post("licensee/I-1/validate", dryRun="true")

    assert is_marked(purchased)


def test_it_adopts_nothing_if_the_product_turns_that_off(with_key, purchased, product):
    LicensingProduct.objects.update(clear_mark_on_validation=False)

    with_key().post("licensee/I-1/validate")

    assert is_marked(purchased)


@pytest.mark.parametrize("change", [{"licenses": []}, {"active": False}])
def test_a_licensee_without_licenses_or_inactive_is_not_adopted(with_key, purchased, change):
    if "licenses" in change:
        purchased.licenses.all().delete()
    Licensee.objects.filter(pk=purchased.pk).update(active=change.get("active", True))

    with_key().post("licensee/I-1/validate")

    assert is_marked(purchased)


def test_a_licensee_with_only_inactive_licenses_is_adopted(with_key, purchased):
    License.objects.update(active=False)

    with_key().post("licensee/I-1/validate")

    assert not is_marked(purchased)


def test_an_adopted_licensees_licenses_cannot_be_transferred_away(with_key, purchased, make_licensee):
    thief = make_licensee("I-THIEF")
    with_key().post("licensee/I-1/validate")

    response = with_key().post("licensee/I-THIEF/transfer", sourceLicenseeNumber="I-1")

    assert info(response)[0] == "IllegalOperationException"
    assert not thief.licenses.exists()


# Dry runs


def all_rows():
    """Every row of the licensing service."""
    models = apps.get_app_config("licensing").get_models()
    return {model.__name__: list(model._default_manager.order_by("pk").values()) for model in models}


# For each licensing model: a license type, terms, the number of licenses, and parameters that write something.
WRITING: dict[str, tuple[str, dict, int, dict]] = {
    "TryAndBuy": ("TIMEVOLUME", {}, 0, {}),
    "Subscription": ("TIMEVOLUME", {}, 1, {}),
    "Rental": ("FEATURE", {}, 1, {}),
    "Floating": ("FLOATING", {"max_sessions": 5}, 1, {"sessionId0": "ada", "action0": "checkOut"}),
    "MultiFeature": ("FEATURE", {}, 1, {}),
    "PayPerUse": ("QUANTITY", {"quantity": 10}, 1, {"usedQuantity0": 3}),
    "Quota": ("QUANTITY", {"quantity": 10}, 1, {}),
    "NodeLocked": ("QUANTITY", {"quantity": 10}, 1, {"nodeSecret0": "computer"}),
}


@pytest.fixture
def holder(make_module, make_template, make_licensee, make_license):
    def hold(model):
        license_type, terms, count, _ = WRITING[model]
        module = make_module(model, number="M1", max_checkout_validity=60, node_secret_mode="CLIENT")
        template = make_template(license_type, module=module, **terms)
        licensee = make_licensee("I-1", marked_for_transfer=True)
        for _ in range(count):
            make_license(licensee, template)
        return licensee

    return hold


@pytest.mark.parametrize("model", MODELS)
def test_a_dry_run_returns_the_same_and_writes_nothing(with_key, holder, model):
    holder(model)
    parameters = WRITING[model][3] | {"productModuleNumber0": "M1"}
    key = with_key()
    key.post("licensee/I-NONE/validate")  # records the first use of the key
    before = all_rows()

    with CaptureQueriesContext(connection) as queries:
        dry = key.post("licensee/I-1/validate", dryRun="true", **parameters)

    assert all_rows() == before
    assert not [query["sql"] for query in queries if not query["sql"].strip().startswith(("SELECT", "WITH"))]
    assert not [query["sql"] for query in queries if "FOR UPDATE" in query["sql"]]
    assert item(dry) == item(key.post("licensee/I-1/validate", **parameters))
    assert all_rows() != before


@pytest.mark.parametrize("dry_run", ["TRUE", "true"])
def test_a_dry_run_creates_no_licensee(with_key, auto_create, make_module, make_template, dry_run):
    make_template("TIMEVOLUME", module=make_module("TryAndBuy"))
    make_template("FLOATING", module=make_module("Floating", number="M-F"), max_sessions=1)
    form = {"productModuleNumber0": "M-F", "sessionId0": "ada", "action0": "checkOut"}

    response = with_key().post("licensee/I-NEW/validate", productNumber="P1", dryRun=dry_run, **form)

    assert [each["valid"] for each in items(response)] == ["false", "true", "false"]
    assert not Licensee.objects.exists()


# Locks and queries


def test_a_validation_that_writes_nothing_takes_two_queries_and_no_lock(
    with_key, licensee, make_module, make_template, make_license
):
    for model in ("Subscription", "Quota", "PayPerUse", "MultiFeature", "Rental", "NodeLocked", "TryAndBuy"):
        for _ in range(3):
            module = make_module(model)
            make_license(licensee, make_template("FEATURE", module=module))
    key = with_key()
    key.post("licensee/I-1/validate")

    with CaptureQueriesContext(connection) as queries:
        assert len(items(key.post("licensee/I-1/validate"))) == 24

    statements = [query["sql"] for query in queries]
    assert len(statements) == 2, statements
    assert all(
        statement.strip().startswith(("SELECT", "WITH")) and "FOR UPDATE" not in statement for statement in statements
    )


def test_it_rejects_head_and_writes_nothing(api, licensee, make_module, make_template):
    make_template("TIMEVOLUME", module=make_module("TryAndBuy"))

    answer = api.client.head("/core/v2/rest/licensee/I-1/validate", headers=api.headers)

    assert answer.status_code == 405
    assert not Transaction.objects.filter(source="AUTO_LICENSEE_VALIDATE").exists()


def test_a_validation_in_the_portal_writes_nothing(licensee):
    before = all_rows()

    validations = validate(read_holding(licensee), dry_run=True)

    assert [validation.result.valid for validation in validations] == [True, True, True]
    assert all_rows() == before
