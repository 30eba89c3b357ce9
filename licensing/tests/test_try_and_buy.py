"""The licensing model TryAndBuy: an evaluation from the first validation on, and no expiry after the purchase."""

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from licensing.models import License, LicenseTemplate, LicensingProduct, ProductModule, Transaction

pytestmark = pytest.mark.django_db


@pytest.fixture
def module(make_module):
    return make_module("TryAndBuy", number="M1")


@pytest.fixture
def trial(make_template, module):
    return make_template("TIMEVOLUME", module=module, time_volume=10, time_volume_period="DAY", automatic=True)


@pytest.fixture
def full(make_template, module):
    return make_template("FEATURE", module=module)


@pytest.fixture
def licensee(trial, full, make_licensee):
    return make_licensee()


def test_the_evaluation_starts_with_the_first_validation(validate, licensee):
    assert not licensee.licenses.exists()

    with time_machine.travel("2026-03-01T12:00:00Z", tick=False):
        validation = validate(licensee)

    assert (validation["valid"], validation["evaluation"]) == ("true", "true")
    assert validation["evaluationExpires"] == "2026-03-11T12:00:00.000Z"
    assert validation["warningLevel"] == "YELLOW"
    license = licensee.licenses.get()
    assert license.number.startswith("L")
    noted = Transaction.objects.get()
    assert (noted.source, noted.licensee) == ("AUTO_LICENSEE_VALIDATE", licensee)
    assert [join.license for join in noted.joins.all()] == [license]


def test_the_evaluation_does_not_start_again(validate, licensee):
    with time_machine.travel("2026-03-01T12:00:00Z", tick=False):
        validate(licensee)
    with time_machine.travel("2026-03-11T12:00:00Z", tick=False):
        validation = validate(licensee)

    assert (validation["valid"], validation["evaluation"]) == ("false", "true")
    assert validation["evaluationExpires"] == "2026-03-11T12:00:00.000Z"
    assert validation["warningLevel"] == "RED"
    assert licensee.licenses.count() == 1


def test_the_evaluation_does_not_start_again_after_the_vendor_ended_it(validate, licensee):
    validate(licensee)
    License.objects.update(active=False)

    validation = validate(licensee)

    assert (validation["valid"], validation.get("evaluationExpires")) == ("false", None)
    assert licensee.licenses.count() == 1


def test_a_purchased_module_never_expires(validate, licensee, full, make_license):
    validate(licensee)
    make_license(licensee, full)

    validation = validate(licensee)

    assert (validation["valid"], validation["evaluation"]) == ("true", "false")
    assert "evaluationExpires" not in validation
    assert validation["warningLevel"] == "GREEN"


def test_a_purchase_before_the_first_validation_skips_the_evaluation(validate, licensee, full, make_license):
    make_license(licensee, full)

    assert validate(licensee)["evaluation"] == "false"
    assert licensee.licenses.count() == 1


def test_the_vendor_can_extend_the_evaluation(validate, licensee, trial, make_license):
    validate(licensee)
    make_license(licensee, trial, start_date=timezone.now() + timedelta(days=9))

    with time_machine.travel(timezone.now() + timedelta(days=15)):
        assert validate(licensee)["valid"] == "true"


@pytest.mark.parametrize("model", [LicenseTemplate, ProductModule, LicensingProduct])
def test_an_inactive_template_module_or_product_cannot_be_evaluated(validate, licensee, model):
    model.objects.update(active=False)

    validation = validate(licensee)

    assert (validation["valid"], validation["warningLevel"]) == ("false", "RED")
    assert not licensee.licenses.exists()


@pytest.mark.django_db(transaction=True)
def test_sixteen_concurrent_validations_start_the_evaluation_once(in_threads, validate, licensee):
    validations = in_threads(lambda _: validate(licensee), range(16), threads=16)

    assert len({validation["evaluationExpires"] for validation in validations}) == 1
    assert licensee.licenses.count() == Transaction.objects.count() == 1
