"""Lists of what there is to choose from."""

from licensing.models import Role
from licensing.tests.conftest import items


def test_what_there_is_to_choose_from(api):
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


def test_roles_stand_in_one_order():
    assert [role.value for role in Role if Role.OPERATION.reaches(role)] == [
        "ROLE_APIKEY_LICENSEE",
        "ROLE_APIKEY_ANALYTICS",
        "ROLE_APIKEY_OPERATION",
    ]
