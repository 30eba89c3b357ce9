"""The utility endpoints, and the order of the roles."""

from licensing.models import Role
from licensing.tests.conftest import items


def test_it_lists_license_types_licensing_models_and_countries(api):
    assert [each["name"] for each in items(api.get("utility/licenseTypes"))] == [
        "FEATURE",
        "TIMEVOLUME",
        "FLOATING",
        "QUANTITY",
    ]
    assert len(items(api.get("utility/licensingModels"))) == 8
    countries = {each["code"]: each for each in items(api.get("utility/countries"))}
    assert len(countries) == 249  # ISO 3166-1
    assert countries["DE"] == {"type": "Country", "code": "DE", "name": "Germany", "isEu": "true"}
    assert countries["GB"]["isEu"] == "false"
    assert sum(each["isEu"] == "true" for each in countries.values()) == 27


def test_each_role_includes_the_lower_ones():
    assert [role.value for role in Role if Role.OPERATION.reaches(role)] == [
        "ROLE_APIKEY_LICENSEE",
        "ROLE_APIKEY_ANALYTICS",
        "ROLE_APIKEY_OPERATION",
    ]
