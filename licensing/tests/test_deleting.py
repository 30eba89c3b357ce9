"""What the vendor deletes, and what stays."""

import pytest

from licensing.models import License, Licensee, Transaction
from licensing.tests.conftest import info
from licensing.tests.conftest import make_one_of_each as make_rows  # noqa: F401


@pytest.mark.parametrize(
    ("path", "left"),
    [("product/P1", 0), ("productmodule/M1", 1), ("licensetemplate/E1", 1), ("licensee/I1", 0)],
)
def test_what_is_in_use_is_deleted_by_force_only(chain, path, left):
    for query in ({}, {"forceCascade": "false"}):
        answer = chain.delete(path, **query)
        assert answer.status_code == 400
        assert info(answer)[0] == "UnexpectedValueException"
    assert License.objects.count() == 1

    answer = chain.delete(path, forceCascade="true")

    assert (answer.status_code, answer.content) == (204, b"")
    assert (License.objects.count(), Licensee.objects.count()) == (0, left)
    assert chain.get(path).status_code == 404
    # What was done stays on record.
    assert [join.number for made in Transaction.objects.all() for join in made.joins.all()] == ["L1"]


def test_what_is_not_in_use_is_deleted(chain):
    assert chain.delete("license/L1").status_code == 204
    assert chain.delete("licensee/I1").status_code == 204
    assert chain.delete("licensee/I1").status_code == 404


def test_transactions_are_not_deleted(chain):
    number = Transaction.objects.get().number

    assert chain.delete(f"transaction/{number}", forceCascade="true").status_code == 405
