"""No caller can validate, or transfer to or from, a licensee of another vendor or another customer."""

import logging

import pytest

from licensing.models import License, Licensee, LicensingProduct, ProductModule
from licensing.tests.conftest import info
from licensing.tests.test_validate import all_rows

pytestmark = pytest.mark.django_db

CALLERS = ["login of another vendor", "key of another vendor", "key of X", "key without a licensee"]
ACTIONS = {
    "validate": ("licensee/{number}/validate", {"productModuleNumber0": "M1", "usedQuantity0": "3"}),
    "validate, made if unknown": ("licensee/{number}/validate", {"productNumber": "P1"}),
    "transfer to X": ("licensee/I-X/transfer", {"sourceLicenseeNumber": "{number}"}),
    "transfer from X": ("licensee/{number}/transfer", {"sourceLicenseeNumber": "I-X"}),
}
# The status that each caller gets for Y and for an unknown number. Y is marked, so its number is enough to
# transfer from it.
OUTCOMES = """
                           login of another vendor  key of another vendor  key of X  key without a licensee
validate                   404 404                  404 404                403 403   200 404
validate, made if unknown  404 404                  404 404                403 403   200 200
transfer to X              404 404                  404 404                204 404   204 404
transfer from X            404 404                  404 404                403 403   204 404
"""


@pytest.fixture
def licensee_y(product, make_module, make_template, make_licensee, make_license):
    """Licensee Y. There is also a licensee X; both are marked and have one license."""
    LicensingProduct.objects.update(licensee_auto_create=True)
    template = make_template("QUANTITY", module=make_module("PayPerUse", number="M1"), quantity=10)
    for name in "XY":
        make_license(make_licensee(f"I-{name}", marked_for_transfer=True), template, number=f"L-{name}")
    return Licensee.objects.with_number("I-Y").get()


@pytest.fixture
def callers(licensee_y, outsider, make_api, with_key):
    x = Licensee.objects.with_number("I-X").get()
    keys = [with_key(merchant=outsider), with_key(licensee=x), with_key()]
    return dict(zip(CALLERS, [make_api(outsider), *keys], strict=True))


def outcomes():
    for line in OUTCOMES.strip().splitlines()[1:]:
        act = next(name for name in sorted(ACTIONS, key=len, reverse=True) if line.startswith(name))
        statuses = list(map(int, line.removeprefix(act).split()))
        for caller, for_y, for_nobody in zip(CALLERS, statuses[::2], statuses[1::2], strict=True):
            yield pytest.param(act, caller, for_y, for_nobody, id=f"{act}: {caller}")


@pytest.mark.parametrize(("act", "caller", "for_y", "for_nobody"), list(outcomes()))
def test_each_caller_gets_the_expected_status(callers, act, caller, for_y, for_nobody):
    path, form = ACTIONS[act]
    for key in callers.values():
        key.get("nothing")  # records the first use of each key
    before = all_rows()

    for number, status in (("I-NOBODY", for_nobody), ("I-Y", for_y)):
        filled = {name: value.format(number=number) for name, value in form.items()}
        answer = callers[caller].post(path.format(number=number), **filled)

        assert answer.status_code == status
        if status >= 400:
            assert all_rows() == before


@pytest.mark.parametrize("act", ["validate", "validate, made if unknown", "transfer from X"])
def test_to_a_licensees_key_other_licensees_look_like_unknown_ones(callers, act):
    path, form = ACTIONS[act]

    answers = [
        callers["key of X"].post(path.format(number=number), **form).content for number in ("I-Y", "I-NOBODY", "L-Y")
    ]

    assert answers[0] == answers[1] == answers[2]


def test_validating_by_a_shared_number_does_not_affect_the_other_vendor(callers, outsider, licensee_y):
    theirs = LicensingProduct.objects.create(merchant=outsider, number="P1", name="Theirs", licensee_auto_create=True)
    ProductModule.objects.create(merchant=outsider, product=theirs, number="M1", name="x", licensing_model="Quota")

    answer = callers["key of another vendor"].post("licensee/I-Y/validate", productNumber="P1")

    assert answer.status_code == 200
    assert Licensee.objects.get(product=theirs).licenses.count() == 0
    assert License.objects.filter(licensee=licensee_y).count() == 1


@pytest.mark.parametrize(("path", "form"), ACTIONS.values(), ids=ACTIONS)
def test_numbers_are_not_logged(callers, caplog, path, form):
    caplog.set_level(logging.DEBUG)
    for number in ("I-Y", "I-NOBODY"):
        filled = {name: value.format(number=number) for name, value in form.items()}
        for key in callers.values():
            answer = key.post(path.format(number=number), **filled)
            assert answer.status_code < 400 or number not in info(answer)[1]

    assert not [record for record in caplog.records if "I-" in record.getMessage() and "sql" not in record.name]
