"""Deleting objects through the API."""

import pytest

from licensing.models import License, Licensee, Transaction
from licensing.tests.conftest import info
from licensing.tests.conftest import make_one_of_each as make_rows  # noqa: F401


@pytest.mark.parametrize(
    ("path", "left"),
    [("product/P1", 0), ("productmodule/M1", 1), ("licensetemplate/E1", 1), ("licensee/I1", 0)],
)
def test_an_object_in_use_is_deleted_only_with_force(seeded_api, path, left):
    for query in ({}, {"forceCascade": "false"}):
        answer = seeded_api.delete(path, **query)
        assert answer.status_code == 400
        assert info(answer)[0] == "UnexpectedValueException"
    assert License.objects.count() == 1

    answer = seeded_api.delete(path, forceCascade="true")

    assert (answer.status_code, answer.content) == (204, b"")
    assert (License.objects.count(), Licensee.objects.count()) == (0, left)
    assert seeded_api.get(path).status_code == 404
    # The transactions stay on record.
    assert [join.number for made in Transaction.objects.all() for join in made.joins.all()] == ["L1"]


def test_an_unused_object_is_deleted(seeded_api):
    assert seeded_api.delete("license/L1").status_code == 204
    assert seeded_api.delete("licensee/I1").status_code == 204
    assert seeded_api.delete("licensee/I1").status_code == 404


def test_transactions_cannot_be_deleted(seeded_api):
    number = Transaction.objects.get().number

    assert seeded_api.delete(f"transaction/{number}", forceCascade="true").status_code == 405
