"""The licensing model Floating: a limited number of concurrent sessions."""

from datetime import timedelta

import pytest
import time_machine

from licensing.models import FloatingSession, License, Licensee
from licensing.tests.conftest import info
from licensing.transfer import transfer

pytestmark = pytest.mark.django_db


@pytest.fixture
def module(make_module):
    return make_module("Floating", number="M1", max_checkout_validity=3600)


@pytest.fixture
def buy(make_licensee, make_license, make_template, module):
    """Create a licensee with one license for each of these numbers of sessions."""
    template = make_template("FLOATING", module=module, max_sessions=1)

    def buy(*sessions):
        licensee = make_licensee()
        for number in sessions:
            make_license(licensee, template, max_sessions=number)
        return licensee

    return buy


@pytest.fixture
def use_session(validate):
    def use_session(licensee, action, session, **parameters):
        return validate(licensee, productModuleNumber0="M1", action0=action, sessionId0=session, **parameters)

    return use_session


@pytest.fixture(autouse=True)
def now():
    with time_machine.travel("2026-03-01T12:00:00Z", tick=False) as traveller:
        yield traveller


def test_a_checked_out_session_expires(use_session, buy):
    validation = use_session(buy(1), "checkOut", "ada")

    assert validation["valid"] == "true"
    assert validation["expirationTimestamp"] == "2026-03-01T13:00:00.000Z"


def test_it_checks_out_as_many_sessions_as_the_licenses_allow(use_session, buy):
    licensee = buy(1, 2)

    answers = [use_session(licensee, "checkOut", name)["valid"] for name in ("ada", "bob", "cyd", "dan")]

    assert answers == ["true", "true", "true", "false"]
    assert FloatingSession.objects.count() == 3


def test_checking_out_a_session_again_extends_it(use_session, buy, now):
    licensee = buy(1)
    use_session(licensee, "checkOut", "ada")
    now.shift(timedelta(minutes=30))

    assert use_session(licensee, "checkOut", "ada")["expirationTimestamp"] == "2026-03-01T13:30:00.000Z"

    assert FloatingSession.objects.count() == 1


def test_a_checked_in_session_is_free(use_session, buy):
    licensee = buy(1)
    use_session(licensee, "checkOut", "ada")

    validation = use_session(licensee, "checkIn", "ada")

    assert (validation["valid"], validation.get("expirationTimestamp")) == ("false", None)
    assert use_session(licensee, "checkOut", "bob")["valid"] == "true"


def test_a_check_in_does_not_free_another_session(use_session, buy):
    licensee = buy(1)
    use_session(licensee, "checkOut", "ada")

    use_session(licensee, "checkIn", "bob")

    assert use_session(licensee, "checkOut", "bob")["valid"] == "false"


def test_an_expired_session_is_free(use_session, buy, now):
    licensee = buy(1)
    use_session(licensee, "checkOut", "ada")
    now.shift(timedelta(hours=1))

    assert use_session(licensee, "checkOut", "bob")["valid"] == "true"

    assert FloatingSession.objects.count() == 1


@pytest.mark.parametrize(("requested", "expires"), [(60, "12:01"), (3600, "13:00"), (7200, "13:00"), (0, "13:00")])
def test_the_software_may_ask_for_less_time_but_not_for_more(use_session, buy, requested, expires):
    validation = use_session(buy(1), "checkOut", "ada", maxCheckoutValidity0=requested)

    assert validation["expirationTimestamp"] == f"2026-03-01T{expires}:00.000Z"


def test_without_a_session_it_is_not_valid(validate, buy):
    assert validate(buy(5))["valid"] == "false"
    assert not FloatingSession.objects.exists()


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ({"action5": "checkOut"}, "sessionId5"),
        ({"sessionId5": "ada"}, "action5"),
        ({"action5": "checkout", "sessionId5": "ada"}, "action5"),
        ({"action5": "checkOut", "sessionId5": "ada", "maxCheckoutValidity5": "-1"}, "maxCheckoutValidity5"),
    ],
)
def test_it_names_missing_and_invalid_parameters(with_key, buy, form, name):
    response = with_key().post(f"licensee/{buy(5).number}/validate", productModuleNumber5="M1", **form)

    assert (response.status_code, info(response)[0]) == (400, "MalformedRequestException")
    assert name in info(response)[1]


def test_licensees_do_not_share_sessions(use_session, buy):
    first, second = buy(1), buy(1)

    assert use_session(first, "checkOut", "ada")["valid"] == use_session(second, "checkOut", "ada")["valid"] == "true"


def test_inactive_licenses_do_not_count(use_session, buy):
    licensee = buy(1)
    License.objects.update(active=False)

    assert use_session(licensee, "checkOut", "ada")["valid"] == "false"


def test_sessions_end_when_the_licenses_are_transferred(use_session, buy):
    source, target = buy(2), buy(1)
    use_session(source, "checkOut", "ada")
    Licensee.objects.update(marked_for_transfer=True)

    transfer(target, source, actor="test")

    assert not FloatingSession.objects.exists()
    assert use_session(source, "checkOut", "ada")["valid"] == "false"
    assert [use_session(target, "checkOut", name)["valid"] for name in "abcd"] == ["true"] * 3 + ["false"]


@pytest.mark.parametrize(
    ("total", "taken", "level"),
    [(0, 0, "RED"), (5, 3, "GREEN"), (5, 4, "YELLOW"), (5, 5, "YELLOW"), (10, 9, "YELLOW"), (10, 10, "RED")],
)
def test_it_warns_when_few_sessions_are_left(use_session, buy, validate, total, taken, level):
    licensee = buy(total)
    for number in range(taken):
        use_session(licensee, "checkOut", f"session {number}")

    assert validate(licensee)["warningLevel"] == level


@pytest.mark.django_db(transaction=True)
def test_of_sixteen_concurrent_checkouts_only_five_get_a_session(in_threads, use_session, buy):
    licensee = buy(2, 3)

    answers = in_threads(
        lambda number: use_session(licensee, "checkOut", f"session {number}")["valid"], range(16), threads=16
    )

    assert sorted(answers) == ["false"] * 11 + ["true"] * 5
    assert FloatingSession.objects.count() == 5
