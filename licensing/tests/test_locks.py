"""Concurrent requests neither deadlock nor fail."""

import contextlib
import itertools

import pytest

from licensing import actions
from licensing.errors import IllegalOperation
from licensing.models import License, Licensee
from licensing.transfer import transfer

pytestmark = pytest.mark.django_db(transaction=True)

MODULES = {
    "PayPerUse": {"licenseType": "QUANTITY", "quantity": 1000},
    "Subscription": {"licenseType": "TIMEVOLUME", "timeVolume": 1},
    "TryAndBuy": {"licenseType": "TIMEVOLUME", "timeVolume": 1},
    "Floating": {"licenseType": "FLOATING", "maxSessions": 1000},
}
LICENSEES = ["I0", "I1", "I2"]
USED = {"productModuleNumber0": "MPayPerUse", "usedQuantity0": 1}
SESSION = {"productModuleNumber1": "MFloating", "action1": "checkOut", "sessionId1": "x"}


def set_up(api):
    api.post("product", number="P1", name="Photo")
    for model, terms in MODULES.items():
        api.post("productmodule", productNumber="P1", number=f"M{model}", name=model, licensingModel=model)
        api.post("licensetemplate", productModuleNumber=f"M{model}", number=f"E{model}", name=model, **terms)
    for number in LICENSEES:
        api.post("licensee", productNumber="P1", number=number, markedForTransfer="true")
        for model in MODULES:
            api.post("license", licenseeNumber=number, licenseTemplateNumber=f"E{model}", number=f"L{number}{model}")


@pytest.fixture
def catalog(api):
    set_up(api)
    return api


DELETED = [
    "product/P1",
    "productmodule/MPayPerUse",
    "licensetemplate/EFloating",
    "licensee/I1",
    "license/LI1PayPerUse",
]


@pytest.mark.parametrize("deleted", DELETED)
def test_objects_can_be_deleted_while_they_are_in_use(in_threads, catalog, with_key, deleted):
    key = with_key()
    acts = [
        lambda: catalog.delete(deleted, forceCascade="true"),
        lambda: catalog.post("license", licenseeNumber="I1", licenseTemplateNumber="EPayPerUse"),
        lambda: catalog.post("license", licenseeNumber="I2", licenseTemplateNumber="EFloating"),
        lambda: catalog.post("licensee/I1", name="Ada", aliases="A1"),
        lambda: catalog.post("license/LI1PayPerUse", active="true"),
        lambda: key.post("licensee/I1/validate", **USED, **SESSION),
        lambda: key.post("licensee/I1/transfer", sourceLicenseeNumber="I2"),
        lambda: key.post("licensee/I2/transfer", sourceLicenseeNumber="I1"),
        lambda: set_up(catalog),
    ]

    answers = in_threads(lambda act: act(), acts * 3, threads=9)

    assert {answer.status_code for answer in answers if answer} <= {200, 204, 400, 404}


def test_licenses_can_be_changed_during_transfers(in_threads, catalog):
    licensees = {licensee.number: licensee for licensee in Licensee.objects.all()}
    licenses = list(License.objects.order_by("-pk"))

    def change(license):
        actions.set_license_active(license, not license.active, actor="Sam")
        actions.change_license(license, fields=["name"], actor="Sam")

    def act(turn):
        if isinstance(turn, License):
            change(turn)
            return
        with contextlib.suppress(IllegalOperation):
            transfer(*(licensees[number] for number in turn), actor="Sam")

    ways = itertools.cycle(itertools.permutations(LICENSEES, 2))
    in_threads(act, [turn for license in licenses * 3 for turn in (license, next(ways))], threads=16)

    assert License.objects.count() == len(licenses)
