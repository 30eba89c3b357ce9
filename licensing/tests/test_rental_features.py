"""Each time volume of a Rental module applies to one feature of the licensee."""

import pytest

from licensing.models import License
from licensing.tests.conftest import info, item, items

pytestmark = pytest.mark.django_db


@pytest.fixture
def seeded_api(api):
    api.post("product", number="P1", name="Terminals")
    for module in ("M1", "M2"):
        api.post("productmodule", productNumber="P1", number=module, name=module, licensingModel="Rental")
        form = {"productModuleNumber": module, "name": "X"}
        api.post("licensetemplate", number=f"DEVICE-{module}", licenseType="FEATURE", **form)
        api.post("licensetemplate", number=f"TIME-{module}", licenseType="TIMEVOLUME", timeVolume=30, **form)
    for licensee in ("I1", "I2"):
        api.post("licensee", productNumber="P1", number=licensee)
    return api


def add(seeded_api, template, number, licensee="I1", **form):
    return seeded_api.post("license", licenseeNumber=licensee, licenseTemplateNumber=template, number=number, **form)


@pytest.mark.parametrize("name", ["parentfeature", "parentFeature"])
def test_a_time_volume_applies_to_one_feature_of_the_licensee(seeded_api, name):
    add(seeded_api, "DEVICE-M1", "D1")
    add(seeded_api, "DEVICE-M1", "D2")

    assert item(add(seeded_api, "TIME-M1", "T1", **{name: " D2 "}))["parentFeature"] == "D2"

    validation = items(seeded_api.post("licensee/I1/validate"))[0]
    assert (validation["D1"][0]["valid"], validation["D2"][0]["valid"]) == ("false", "true")


def test_the_only_feature_needs_no_name(seeded_api):
    add(seeded_api, "DEVICE-M1", "D1")
    add(seeded_api, "DEVICE-M2", "D2")

    assert item(add(seeded_api, "TIME-M1", "T1"))["parentFeature"] == "D1"
    assert items(seeded_api.post("licensee/I1/validate"))[0]["valid"] == "true"


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({}, "The licensee has several"),
        ({"parentfeature": ""}, "The licensee has several"),
        ({"parentfeature": "NONE"}, "The licensee has no FEATURE license “NONE” of this module."),
        ({"parentfeature": "D-OTHER"}, "The licensee has no FEATURE license “D-OTHER” of this module."),
        ({"parentfeature": "D-M2"}, "The licensee has no FEATURE license “D-M2” of this module."),
        ({"parentfeature": "T1"}, "The licensee has no FEATURE license “T1” of this module."),
        ({"licenseeNumber": "I2", "licenseTemplateNumber": "TIME-M2"}, "The licensee has none."),
    ],
)
def test_it_rejects_a_missing_or_unknown_feature(seeded_api, form, says):
    add(seeded_api, "DEVICE-M1", "D1")
    add(seeded_api, "DEVICE-M1", "D2")
    add(seeded_api, "TIME-M1", "T1", parentfeature="D1")
    add(seeded_api, "DEVICE-M1", "D-OTHER", licensee="I2")
    add(seeded_api, "DEVICE-M2", "D-M2")

    response = seeded_api.post("license", **({"licenseeNumber": "I1", "licenseTemplateNumber": "TIME-M1"} | form))

    assert (response.status_code, info(response)[0]) == (400, "ValidationException")
    assert info(response)[1].startswith("parentfeature: ") and says in info(response)[1]
    assert License.objects.count() == 5


def test_changes_are_validated_too(seeded_api):
    add(seeded_api, "DEVICE-M1", "D1")
    add(seeded_api, "DEVICE-M1", "D2")
    add(seeded_api, "TIME-M1", "T1", parentfeature="D1")

    assert info(seeded_api.post("license/T1", parentfeature="NONE"))[0] == "ValidationException"
    assert info(seeded_api.post("license/T1", parentfeature=""))[0] == "ValidationException"
    assert item(seeded_api.post("license/T1", name="Renamed"))["parentFeature"] == "D1"
    assert item(seeded_api.post("license/T1", parentfeature="D2"))["parentFeature"] == "D2"


def test_a_time_volume_follows_its_feature_to_a_new_number(seeded_api):
    add(seeded_api, "DEVICE-M1", "D1")
    add(seeded_api, "TIME-M1", "T1")

    seeded_api.post("license/D1", number="D9")

    assert item(seeded_api.get("license/T1"))["parentFeature"] == "D9"


def test_an_automatic_time_volume_applies_to_the_automatic_feature(seeded_api):
    seeded_api.post("licensetemplate", number="TIME-0", productModuleNumber="M1", name="Free",
                    licenseType="TIMEVOLUME", timeVolume=30, automatic="true")  # fmt: skip
    seeded_api.post("licensetemplate/DEVICE-M1", automatic="true")
    seeded_api.post("licensetemplate/TIME-M2", automatic="true")  # created even though it has no feature

    seeded_api.post("licensee", productNumber="P1", number="I3")

    made = {each["licenseTemplateNumber"]: each for each in items(seeded_api.get("license", licenseeNumber="I3"))}
    assert made["TIME-0"]["parentFeature"] == made["DEVICE-M1"]["number"]
    assert "parentFeature" not in made["TIME-M2"]


def test_other_models_need_no_feature(seeded_api):
    seeded_api.post("productmodule", productNumber="P1", number="M3", name="S", licensingModel="Subscription")
    seeded_api.post("licensetemplate", number="TIME-M3", productModuleNumber="M3", name="Y",
                    licenseType="TIMEVOLUME", timeVolume=30)  # fmt: skip

    assert add(seeded_api, "TIME-M3", "T3").status_code == 200
