"""The licensing model PayPerUse: units are deducted once, when they are used or reserved."""

import pytest

from licensing.models import License, Licensee
from licensing.tests.conftest import info
from licensing.transfer import transfer

pytestmark = pytest.mark.django_db


@pytest.fixture
def module(make_module):
    return make_module("PayPerUse", number="M1")


@pytest.fixture
def buy(make_licensee, make_license, make_template, module):
    """Create a licensee with one license for each pair of total and used units."""
    template = make_template("QUANTITY", module=module, quantity=1)

    def buy(*quantities):
        licensee = make_licensee()
        for quantity, used in quantities:
            make_license(licensee, template, quantity=quantity, used_quantity=used)
        return licensee

    return buy


def use(validate, licensee, **parameters):
    return validate(licensee, productModuleNumber0="M1", **{f"{name}0": value for name, value in parameters.items()})


def used(licensee):
    return list(licensee.licenses.values_list("used_quantity", flat=True))


@pytest.mark.parametrize(
    ("quantities", "parameters", "valid", "remaining", "afterwards"),
    [
        pytest.param([(10, 3)], {}, "true", "7", [3], id="only validated"),
        pytest.param([(10, 3)], {"usedQuantity": 0}, "true", "7", [3], id="zero used"),
        pytest.param([(10, 3)], {"usedQuantity": 2}, "true", "5", [5], id="used"),
        pytest.param([(10, 3)], {"usedQuantity": 7}, "false", "0", [10], id="used up"),
        pytest.param([(10, 3)], {"usedQuantity": 9}, "false", "-2", [12], id="used more than remained"),
        pytest.param([(10, 12)], {"usedQuantity": 1}, "false", "-3", [13], id="used although overdrawn"),
        pytest.param([(10, 3)], {"reserveQuantity": 2}, "true", "5", [5], id="reserved"),
        pytest.param([(10, 3)], {"reserveQuantity": 7}, "true", "0", [10], id="reserved all that remained"),
        pytest.param([(10, 3)], {"reserveQuantity": 8}, "false", "7", [3], id="reserved more than remained"),
        pytest.param([(5, 0), (5, 0)], {"usedQuantity": 7}, "true", "3", [5, 2], id="oldest license first"),
        pytest.param(
            [(5, 5), (5, 1), (5, 0)], {"usedQuantity": 6}, "true", "3", [5, 5, 2], id="then the next license"
        ),
        pytest.param([(5, 0), (5, 0)], {"usedQuantity": 13}, "false", "-3", [5, 8], id="overdraws the last license"),
        pytest.param(
            [(5, 8), (5, 0)],
            {"reserveQuantity": 2},
            "true",
            "0",
            [8, 2],
            id="reserved all that remained after an overdraft",
        ),
        pytest.param(
            [(5, 8), (5, 0)],
            {"reserveQuantity": 3},
            "false",
            "2",
            [8, 0],
            id="reserved more than remained after an overdraft",
        ),
        pytest.param([], {"usedQuantity": 3}, "false", "0", [], id="no license"),
        pytest.param([], {"reserveQuantity": 0}, "false", "0", [], id="zero reserved without a license"),
    ],
)
def test_it_deducts_units(validate, buy, quantities, parameters, valid, remaining, afterwards):
    licensee = buy(*quantities)

    validation = use(validate, licensee, **parameters)

    assert (validation["valid"], validation["remainingQuantity"]) == (valid, remaining)
    assert used(licensee) == afterwards


def test_it_warns_when_more_units_are_used_than_remain(with_key, buy):
    licensee = buy((10, 3))

    response = with_key().post(f"licensee/{licensee.number}/validate", productModuleNumber0="M1", usedQuantity0=8)

    assert info(response)[0] == "usedQuantityExceedsRemaining"
    assert response.json()["infos"]["info"][0]["type"] == "WARNING"


@pytest.mark.parametrize(("used_quantity", "level"), [(7, "GREEN"), (8, "YELLOW"), (9, "YELLOW"), (10, "RED")])
def test_it_warns_from_80_percent_on(validate, buy, used_quantity, level):
    assert validate(buy((10, used_quantity)))["warningLevel"] == level


def test_inactive_licenses_do_not_count_and_are_not_deducted_from(validate, buy):
    licensee = buy((10, 0), (10, 0))
    License.objects.filter(pk=licensee.licenses.first().pk).update(active=False)

    assert use(validate, licensee, usedQuantity=3)["remainingQuantity"] == "7"
    assert used(licensee) == [0, 3]


@pytest.mark.parametrize("name", ["usedQuantity", "reserveQuantity"])
@pytest.mark.parametrize("value", ["-1", "1.5", "many", "1e3", "٣", "0x10", "1" * 16, "9" * 5000])
def test_it_rejects_an_invalid_quantity(with_key, buy, name, value):
    licensee = buy((10, 0))

    form = {"productModuleNumber3": "M1", f"{name}3": value}
    response = with_key().post(f"licensee/{licensee.number}/validate", **form)

    assert response.status_code == 400
    assert info(response)[0] == "MalformedRequestException"
    assert f"{name}3" in info(response)[1]
    assert used(licensee) == [0]


def test_it_rejects_used_and_reserved_together(with_key, buy):
    licensee = buy((10, 0))

    form = {"productModuleNumber0": "M1", "usedQuantity0": 1, "reserveQuantity0": 1}
    response = with_key().post(f"licensee/{licensee.number}/validate", **form)

    assert (response.status_code, info(response)[0]) == (400, "MalformedRequestException")
    assert used(licensee) == [0]


def test_it_rejects_a_quantity_that_overflows(with_key, buy):
    licensee = buy((10, 2**63 - 2))

    form = {"productModuleNumber0": "M1", "usedQuantity0": 5}
    response = with_key().post(f"licensee/{licensee.number}/validate", **form)

    assert (response.status_code, info(response)[0]) == (400, "MalformedRequestException")


@pytest.mark.django_db(transaction=True)
class TestConcurrently:
    def test_no_unit_is_reserved_twice(self, in_threads, validate, buy):
        licensee = buy((4, 0), (6, 0))

        validations = in_threads(lambda _: use(validate, licensee, reserveQuantity=1), range(16), threads=16)

        assert sorted(validation["valid"] for validation in validations) == ["false"] * 6 + ["true"] * 10
        remaining = [validation["remainingQuantity"] for validation in validations if validation["valid"] == "true"]
        assert sorted(map(int, remaining)) == list(range(10))
        assert used(licensee) == [4, 6]

    def test_all_used_units_are_deducted(self, in_threads, validate, buy):
        licensee = buy((4, 0), (100, 0))

        in_threads(lambda _: use(validate, licensee, usedQuantity=3), range(16), threads=16)

        assert used(licensee) == [4, 44]

    def test_concurrent_transfers_lose_no_units(self, in_threads, validate, buy):
        first, second = buy((500, 0)), buy()
        Licensee.objects.update(marked_for_transfer=True)
        first.product.__class__.objects.update(clear_mark_on_validation=False)

        def act(number):
            if number % 4 == 0:
                return transfer(*((second, first) if number % 8 else (first, second)), actor="test")
            return [use(validate, licensee, reserveQuantity=1)["valid"] for licensee in (first, second)]

        results = in_threads(act, range(32), threads=16)

        reserved = sum(valid == "true" for number, result in enumerate(results) if number % 4 for valid in result)
        assert used(first) + used(second) == [reserved]
