"""The licensing models MultiFeature, Quota and Rental."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from licensing.models import License

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def now():
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


# Multi-Feature


@pytest.fixture
def features(make_module, make_template):
    module = make_module("MultiFeature")
    return [make_template("FEATURE", module=module, number=f"F-{name}", name=name) for name in ("Lite", "Pro")]


def test_each_feature_is_validated_separately(validate, features, make_licensee, make_license):
    licensee = make_licensee()
    make_license(licensee, features[1])

    validation = validate(licensee)

    assert validation["F-Lite"] == [{"valid": "false", "featureName": "Lite"}]
    assert validation["F-Pro"] == [{"valid": "true", "featureName": "Pro"}]
    assert (validation["valid"], validation["warningLevel"]) == ("true", "GREEN")


def test_features_of_inactive_licenses_are_not_valid(validate, features, make_licensee, make_license):
    licensee = make_licensee()
    make_license(licensee, features[1], active=False)

    validation = validate(licensee)

    assert validation["F-Pro"] == [{"valid": "false", "featureName": "Pro"}]
    assert (validation["valid"], validation["warningLevel"]) == ("false", "GREEN")


def test_an_inactive_feature_stays_valid_for_licensees_who_have_it(validate, features, make_licensee, make_license):
    owner, other = make_licensee(), make_licensee()
    make_license(owner, features[0])
    features[0].active = False
    features[0].save()

    assert validate(owner)["F-Lite"] == [{"valid": "true", "featureName": "Lite"}]
    assert "F-Lite" not in validate(other)


# Quota


@pytest.mark.parametrize(
    ("quantities", "quota", "valid", "level"),
    [
        ([], "0", "false", "RED"),
        ([0], "0", "false", "RED"),
        ([10, 25], "35", "true", "GREEN"),
        ([10, -1], "-1", "true", "GREEN"),
    ],
)
def test_quotas_add_up(
    validate, make_module, make_template, make_licensee, make_license, quantities, quota, valid, level
):
    template = make_template("QUANTITY", module=make_module("Quota"), quantity=1)
    licensee = make_licensee()
    for quantity in quantities:
        make_license(licensee, template, quantity=quantity)
    make_license(licensee, template, quantity=1000, active=False)

    validation = validate(licensee)

    assert (validation["quota"], validation["valid"], validation["warningLevel"]) == (quota, valid, level)


# Rental


@pytest.fixture
def rent(make_module, make_template, make_licensee, make_license):
    """License a device, and time volumes for it. Each has a start, in days from now, and a length in days."""
    module = make_module("Rental", yellow_threshold=7, red_threshold=2)
    device = make_template("FEATURE", module=module)
    time = make_template("TIMEVOLUME", module=module, time_volume_period="DAY")
    licensee = make_licensee()

    def rent(number, *times):
        make_license(licensee, device, number=number)
        for begin, days in times:
            start = NOW + timedelta(days=begin)
            make_license(licensee, time, parent_feature=number, start_date=start, time_volume=days)
        return licensee

    return rent


def test_each_feature_expires_separately(validate, rent):
    rent("DEV-1", (-10, 30), (0, 30))
    rent("DEV-2", (-40, 30))
    licensee = rent("DEV-3")

    validation = validate(licensee)

    expires = "2026-04-29T12:00:00.000Z"
    assert validation["DEV-1"] == [{"valid": "true", "expires": expires, "expirationWarningLevel": "green"}]
    assert validation["DEV-2"] == validation["DEV-3"] == [{"valid": "false", "expirationWarningLevel": "red"}]
    assert (validation["valid"], validation["warningLevel"]) == ("true", "RED")


@pytest.mark.parametrize(("days", "level"), [(8, "green"), (7, "yellow"), (3, "yellow"), (2, "red"), (1, "red")])
def test_it_warns_when_few_days_remain(validate, rent, days, level):
    validation = validate(rent("DEV-1", (0, days)))

    (device,) = validation["DEV-1"]
    assert (device["valid"], device["expirationWarningLevel"]) == ("true", level)
    assert validation["warningLevel"] == level.upper()


def test_without_a_device_nothing_is_valid(validate, rent):
    licensee = rent("DEV-1", (0, 30))
    License.objects.filter(number="DEV-1").update(active=False)

    validation = validate(licensee)

    assert "DEV-1" not in validation
    assert (validation["valid"], validation["warningLevel"]) == ("false", "RED")
