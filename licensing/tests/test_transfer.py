"""Moving purchased licenses to the customer's permanent licensee."""

import contextlib
import itertools

import pytest

from licensing.creation import create_license
from licensing.errors import IllegalOperation
from licensing.models import FloatingSession, License, Licensee, LicensingProduct, Transaction
from licensing.tests.conftest import info
from licensing.transfer import transfer
from licensing.validation import read_holding, validate

pytestmark = pytest.mark.django_db


@pytest.fixture
def template(make_template):
    return make_template()


@pytest.fixture
def target(make_licensee):
    return make_licensee("I-TARGET")


@pytest.fixture
def source(make_licensee, make_license, template):
    source = make_licensee("I-SOURCE", marked_for_transfer=True)
    make_license(source, template, number="L1")
    make_license(source, template, number="L2", active=False)
    return source


def numbers_of(licensee):
    return [license.number for license in licensee.licenses.all()]


def test_all_licenses_move_and_keep_their_numbers(with_key, source, target):
    response = with_key().post("licensee/I-TARGET/transfer", sourceLicenseeNumber="I-SOURCE")

    assert (response.status_code, response.content) == (204, b"")
    assert numbers_of(target) == ["L1", "L2"]
    assert numbers_of(source) == []


def test_it_records_a_closed_transaction(with_key, source, target):
    with_key().post("licensee/I-TARGET/transfer", sourceLicenseeNumber="I-SOURCE")

    noted = Transaction.objects.get(source=Transaction.Source.AUTO_LICENSES_TRANSFER)
    assert (noted.licensee, noted.source_licensee, noted.status) == (target, source, Transaction.Status.CLOSED)
    assert noted.closed_at
    assert noted.made_by.startswith("API key")
    assert [join.number for join in noted.joins.all()] == ["L1", "L2"]


def test_repeating_a_transfer_succeeds_and_moves_nothing(with_key, source, target):
    key = with_key()
    key.post("licensee/I-TARGET/transfer", sourceLicenseeNumber="I-SOURCE")

    response = key.post("licensee/I-TARGET/transfer", sourceLicenseeNumber="I-SOURCE")

    assert response.status_code == 204
    assert Transaction.objects.filter(source=Transaction.Source.AUTO_LICENSES_TRANSFER).count() == 1
    source.refresh_from_db()
    assert source.marked_for_transfer


def test_licenses_added_to_the_source_later_move_with_the_next_transfer(source, target, make_license, template):
    transfer(target, source, actor="test")
    make_license(source, template, number="L3")

    moved = transfer(target, source, actor="test")

    assert [license.number for license in moved] == ["L3"]
    assert numbers_of(target) == ["L1", "L2", "L3"]


def test_a_transfer_changes_only_the_licensee_of_a_license(source, target, make_template, make_module, make_license):
    template = make_template("QUANTITY", module=make_module("PayPerUse"), quantity=10)
    license = make_license(source, template, used_quantity=4, properties={"nodeSecret0": "abc"})
    before = dict(License.objects.values().get(pk=license.pk))

    transfer(target, source, actor="test")

    after = dict(License.objects.values().get(pk=license.pk))
    assert after["moved_at"]
    assert after == before | {"licensee_id": target.pk, "moved_at": after["moved_at"]}


def test_it_ends_the_sessions_of_the_source(source, target, make_module):
    module = make_module("Floating", max_checkout_validity=60)
    for licensee in (source, target):
        FloatingSession.objects.create(
            licensee=licensee, module=module, fingerprint=b"x", expires_at="2099-01-01T00:00:00Z"
        )

    transfer(target, source, actor="test")

    assert [session.licensee for session in FloatingSession.objects.all()] == [target]


def test_it_accepts_aliases_as_numbers(with_key, api, source, target):
    api.post("licensee/I-TARGET", aliases="mine")
    api.post("licensee/I-SOURCE", aliases="bought")

    assert with_key().post("licensee/mine/transfer", sourceLicenseeNumber="bought").status_code == 204

    assert numbers_of(target) == ["L1", "L2"]


def test_a_number_takes_precedence_over_an_alias(with_key, make_licensee, target, template):
    other, source = make_licensee(marked_for_transfer=True), make_licensee("I-SOURCE", marked_for_transfer=True)
    for licensee in (other, source):
        create_license(licensee, template, actor="test")
    other.aliases.create(merchant=other.merchant, text="I-SOURCE")
    expected = numbers_of(source)

    assert with_key().post("licensee/I-TARGET/transfer", sourceLicenseeNumber="I-SOURCE").status_code == 204

    assert numbers_of(target) == expected


@pytest.fixture
def licensee_of_another_product(merchant, make_licensee):
    return make_licensee(
        "I-ELSEWHERE", product=LicensingProduct.objects.create(merchant=merchant, number="P2", name="Other")
    )


REFUSALS = {
    "source missing": ("I-TARGET", {}, 400, "MalformedRequestException", "Source licensee number is not provided"),
    "source unknown": ("I-TARGET", "I-NONE", 404, "NotFoundException", "Requested source licensee does not exist"),
    "target unknown": ("I-NONE", "I-SOURCE", 404, "NotFoundException", "Requested licensee does not exist"),
    "same licensee": ("I-SOURCE", "I-SOURCE", 400, "IllegalOperationException", "cannot transfer licenses to itself"),
    "not marked": ("I-SOURCE", "I-TARGET", 400, "IllegalOperationException", "not marked for transfer"),
    "another product": ("I-ELSEWHERE", "I-SOURCE", 400, "IllegalOperationException", "different products"),
}


@pytest.mark.parametrize(("number", "source_number", "status", "name", "text"), REFUSALS.values(), ids=REFUSALS)
def test_it_rejects_an_invalid_transfer(
    with_key, source, licensee_of_another_product, target, number, source_number, status, name, text
):
    form = {"sourceLicenseeNumber": source_number} if source_number else {}

    response = with_key().post(f"licensee/{number}/transfer", **form)

    assert response.status_code == status
    assert info(response)[0] == name
    assert text in info(response)[1]
    assert numbers_of(source) == ["L1", "L2"]
    assert not Transaction.objects.filter(source=Transaction.Source.AUTO_LICENSES_TRANSFER).exists()


@pytest.mark.parametrize("inactive", ["source", "target"])
def test_it_rejects_an_inactive_source_or_target(with_key, source, target, inactive):
    Licensee.objects.filter(pk={"source": source, "target": target}[inactive].pk).update(active=False)

    response = with_key().post("licensee/I-TARGET/transfer", sourceLicenseeNumber="I-SOURCE")

    assert info(response) == ("IllegalOperationException", f"{inactive.capitalize()} licensee is not active")
    assert numbers_of(source) == ["L1", "L2"]


def test_it_rejects_get(with_key, source, target):
    assert with_key().get("licensee/I-TARGET/transfer", sourceLicenseeNumber="I-SOURCE").status_code == 405
    assert numbers_of(target) == []


# Permissions


def test_a_licensees_key_can_transfer_to_that_licensee(with_key, source, target):
    response = with_key(licensee=target).post("licensee/I-TARGET/transfer", sourceLicenseeNumber="I-SOURCE")

    assert response.status_code == 204
    assert numbers_of(target) == ["L1", "L2"]


@pytest.mark.django_db(transaction=True)
class TestConcurrently:
    def test_two_targets_cannot_both_get_the_licenses(self, in_threads, source, target, make_licensee):
        other = make_licensee("I-OTHER")

        moved = in_threads(lambda to: transfer(to, source, actor="test"), [target, other] * 8, threads=16)

        assert sorted(map(len, moved)) == [0] * 15 + [2]
        assert sorted([numbers_of(target), numbers_of(other)]) == [[], ["L1", "L2"]]
        noted = Transaction.objects.get(source=Transaction.Source.AUTO_LICENSES_TRANSFER)
        assert numbers_of(noted.licensee) == ["L1", "L2"]
        assert noted.joins.count() == 2

    def test_transfers_in_opposite_directions_do_not_deadlock(self, in_threads, source, target):
        Licensee.objects.update(marked_for_transfer=True)
        ways = itertools.cycle([(source, target), (target, source)])

        in_threads(lambda way: transfer(*way, actor="test"), [next(ways) for _ in range(64)], threads=16)

        assert sorted([*numbers_of(source), *numbers_of(target)]) == ["L1", "L2"]
        assert [] in [numbers_of(source), numbers_of(target)]

    def test_concurrently_created_licenses_are_not_lost(self, in_threads, source, target, template):
        def act(number):
            if number % 2:
                return transfer(target, source, actor="test")
            return create_license(source, template, actor="test", number=f"N{number}")

        in_threads(act, range(32), threads=16)
        transfer(target, source, actor="test")

        assert sorted(numbers_of(target)) == sorted(["L1", "L2", *(f"N{number}" for number in range(0, 32, 2))])
        assert numbers_of(source) == []

    def test_concurrently_adopted_licenses_stay(self, in_threads, target, template, make_licensee, make_license):
        sources = [make_licensee(marked_for_transfer=True) for _ in range(16)]
        for source in sources:
            make_license(source, template)

        def act(turn):
            source, transfers = turn
            if not transfers:
                return validate(read_holding(source), dry_run=False, adopts=True)
            with contextlib.suppress(IllegalOperation):
                return transfer(target, source, actor="test")

        in_threads(act, [(source, bool(way)) for source in sources for way in range(2)], threads=16)

        for source in Licensee.objects.filter(pk__in=[source.pk for source in sources]):
            assert source.marked_for_transfer == (numbers_of(source) == [])
