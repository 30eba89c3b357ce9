"""Why validations failed, as vendors and support staff see it."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import DatabaseError

from licensing.models import FailedValidation, License, Licensee, LicensingModel, LicensingProduct
from licensing.tests.conftest import items

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
NUMBER = "I-SECRET-4711"


@pytest.fixture(autouse=True)
def now():
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def licensee(make_licensee):
    return make_licensee(NUMBER)


@pytest.fixture
def request_validation(with_key, licensee):
    key = with_key()
    return lambda **form: key.post(f"licensee/{NUMBER}/validate", **form)


@pytest.fixture
def offer(make_module, make_template):
    """Create a module of a licensing model, and a license template of it."""

    def offer(model, license_type, *, module=None, **terms):
        return make_template(license_type, module=make_module(model, number="M1", **(module or {})), **terms)

    return offer


def reasons(licensee):
    return {failure.module_number: failure.reason for failure in licensee.failures.all()}


CLIENT = {"node_secret_mode": "CLIENT"}
# Licensing model, license type, fields of the module and of the license, parameters, and the reason.
FAILURES = [
    ("Subscription", "TIMEVOLUME", {}, None, {}, "The licensee has no TIMEVOLUME license of this module."),
    (
        "Subscription",
        "TIMEVOLUME",
        {},
        {"active": False},
        {},
        "All TIMEVOLUME licenses of this module are inactive (1).",
    ),
    (
        "Subscription",
        "TIMEVOLUME",
        {},
        {"start_date": NOW - timedelta(days=60)},
        {},
        "The licenses expired on 2026-02-09 12:00 UTC.",
    ),
    (
        "Subscription",
        "TIMEVOLUME",
        {},
        {"start_date": NOW + timedelta(days=1)},
        {},
        "The licenses start on 2026-03-11 12:00 UTC.",
    ),
    (
        "TryAndBuy",
        "TIMEVOLUME",
        {},
        {"start_date": NOW - timedelta(days=60)},
        {},
        "Not purchased, and the evaluation ended on 2026-02-09 12:00 UTC.",
    ),
    ("TryAndBuy", "FEATURE", {}, None, {}, "Not purchased, and there is no active template for an evaluation."),
    (
        "TryAndBuy",
        "TIMEVOLUME",
        {},
        {"active": False},
        {},
        "Not purchased, and the evaluation license is inactive.",
    ),
    ("Rental", "FEATURE", {}, None, {}, "The licensee has no FEATURE license of this module."),
    ("Rental", "FEATURE", {}, {}, {}, "The licensee has no time volume for an active feature of this module."),
    ("MultiFeature", "FEATURE", {}, {"active": False}, {}, "All FEATURE licenses of this module are inactive (1)."),
    ("PayPerUse", "QUANTITY", {}, None, {}, "The licensee has no QUANTITY license of this module."),
    ("PayPerUse", "QUANTITY", {}, {"quantity": 2}, {"usedQuantity": 2}, "No units remain (0)."),
    (
        "PayPerUse",
        "QUANTITY",
        {},
        {"quantity": 2},
        {"reserveQuantity": 5},
        "Can't reserve 5 units: 2 remain.",
    ),
    ("Quota", "QUANTITY", {}, {"quantity": 0}, {}, "The quota is 0."),
    ("Quota", "QUANTITY", {}, None, {}, "The licensee has no QUANTITY license of this module."),
    ("Floating", "FLOATING", {}, None, {}, "The licensee has no FLOATING license of this module."),
    ("Floating", "FLOATING", {}, {"max_sessions": 1}, {}, "The software sent no sessionId and action."),
    ("NodeLocked", "QUANTITY", CLIENT, {"quantity": 1}, {}, "The software sent no nodeSecret."),
    (
        "NodeLocked",
        "QUANTITY",
        {},
        {"quantity": 1},
        {"nodeSecret": "stolen"},
        "The node secret isn't one of the predefined ones.",
    ),
    (
        "NodeLocked",
        "QUANTITY",
        CLIENT,
        {"quantity": 1, "properties": {"nodeSecret0": "mine"}},
        {"nodeSecret": "stolen"},
        "The node secret is unknown, and no seat is free: 1 of 1 are taken.",
    ),
]


def test_the_table_has_every_licensing_model():
    assert {model for model, *_ in FAILURES} == set(LicensingModel.values)


@pytest.mark.parametrize("row", FAILURES, ids=lambda row: f"{row[0]} {row[5]}")
def test_it_records_why_a_module_is_not_valid(request_validation, licensee, offer, make_license, row):
    model, license_type, module, fields, form, reason = row
    template = offer(model, license_type, module=module)
    if fields is not None:
        make_license(licensee, template, **fields)

    (validation,) = items(request_validation(**form))

    assert validation["valid"] == "false"
    (failure,) = licensee.failures.all()
    assert (failure.module_number, failure.module_name, failure.licensing_model) == ("M1", model, model)
    assert (failure.reason, failure.failed_at) == (reason, NOW)
    assert failure.asked_by.startswith("API key ")
    assert "stolen" not in str(failure)


def test_a_checkout_without_a_free_session_is_recorded_and_a_check_in_is_not(
    request_validation, licensee, offer, make_license
):
    make_license(licensee, offer("Floating", "FLOATING", module={"max_checkout_validity": 60}), max_sessions=1)
    for session, action in (("ada", "checkOut"), ("ada", "checkIn"), ("ada", "checkOut")):
        request_validation(sessionId=session, action=action)
    assert not licensee.failures.exists()

    request_validation(sessionId="bob", action="checkOut")

    assert reasons(licensee) == {"M1": "No session is free: 1 of 1 are checked out."}


def test_it_records_that_the_licensee_is_inactive(request_validation, licensee, offer, make_license):
    make_license(licensee, offer("MultiFeature", "FEATURE"))
    Licensee.objects.update(active=False)

    request_validation()

    assert reasons(licensee) == {"M1": "The licensee is inactive."}


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({"productModuleNumber": "NONE"}, "Requested product module does not exist: NONE"),
        ({"productNumber": "P9"}, "Unexpected value of parameter 'productNumber'"),
        ({"sessionId0": "ada", "productModuleNumber0": "M1"}, "action0 is not provided"),
        ({"productModuleNumber": "N" * 1000}, "Requested product module does not exist: " + "N" * 259),
    ],
)
def test_it_records_rejected_requests(request_validation, licensee, offer, form, reason):
    offer("Floating", "FLOATING", module={"max_checkout_validity": 60})

    assert request_validation(**form).status_code in {400, 404}

    assert reasons(licensee) == {"": reason}


def test_it_keeps_the_last_failure_of_each_module(request_validation, licensee, offer, make_license, now):
    license = make_license(licensee, offer("Subscription", "TIMEVOLUME"), start_date=NOW - timedelta(days=60))
    request_validation()
    License.objects.filter(pk=license.pk).update(active=False)
    now.shift(timedelta(hours=1))

    request_validation()
    request_validation(productModuleNumber="NONE")

    assert reasons(licensee) == {
        "M1": "All TIMEVOLUME licenses of this module are inactive (1).",
        "": "Requested product module does not exist: NONE",
    }
    assert {failure.failed_at for failure in licensee.failures.all()} == {NOW + timedelta(hours=1)}


def test_it_writes_the_same_failure_once_a_minute(request_validation, licensee, offer, now):
    offer("Subscription", "TIMEVOLUME")
    request_validation()
    now.shift(timedelta(seconds=59))
    request_validation()
    assert licensee.failures.get().failed_at == NOW

    now.shift(timedelta(seconds=1))
    request_validation()
    assert licensee.failures.get().failed_at == NOW + timedelta(minutes=1)


def test_it_does_not_record_dry_runs_and_successes(request_validation, licensee, offer, make_license):
    template = offer("MultiFeature", "FEATURE")
    request_validation(dryRun="true")
    request_validation(dryRun="true", productModuleNumber="NONE")
    make_license(licensee, template)
    request_validation()

    assert not FailedValidation.objects.exists()


def test_it_responds_even_if_the_failure_cannot_be_recorded(request_validation, licensee, offer, monkeypatch, caplog):
    offer("Subscription", "TIMEVOLUME")

    def fail(*_, **__):
        raise DatabaseError("disk full")

    monkeypatch.setattr("django.db.models.query.QuerySet.bulk_create", fail)

    assert items(request_validation())[0]["valid"] == "false"
    assert "could not be recorded" in caplog.text


def test_logs_do_not_name_the_licensee(request_validation, offer, caplog):
    caplog.set_level("DEBUG", logger="licensing")
    offer("Subscription", "TIMEVOLUME")

    request_validation()
    request_validation(productModuleNumber="NONE")

    assert NUMBER not in "".join(record.getMessage() for record in caplog.records if record.name != "django.request")
    assert all(NUMBER not in str(failure) for failure in FailedValidation.objects.all())


@pytest.mark.django_db(transaction=True)
def test_sixteen_concurrent_failures_are_recorded_once(in_threads, request_validation, licensee, offer):
    offer("Subscription", "TIMEVOLUME")

    answers = in_threads(lambda _: request_validation().status_code, range(16), threads=16)

    assert set(answers) == {200}
    assert licensee.failures.count() == 1
    assert LicensingProduct.objects.count() == 1
