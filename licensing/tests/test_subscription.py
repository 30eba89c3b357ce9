"""The licensing model Subscription: when it expires."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from licensing.models import License, Licensee
from licensing.transfer import transfer
from licensing.validation.time_volumes import FOREVER, find_span

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def at(year, month, day):
    return datetime(year, month, day, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def now():
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def subscribe(make_licensee, make_license, make_template):
    """Create a licensee with one license for each start date, time volume and period."""
    template = make_template(module=make_template().module)

    def subscribe(*terms):
        licensee = make_licensee()
        for begin, volume, period in terms:
            make_license(licensee, template, start_date=begin, time_volume=volume, time_volume_period=period)
        return licensee

    return subscribe


def expires(validation):
    return validation["valid"], validation.get("expires")


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        pytest.param([(at(2026, 3, 1), 30, "DAY")], "2026-03-31", id="one license"),
        pytest.param([(at(2026, 3, 1), 30, "")], "2026-03-31", id="days by default"),
        pytest.param([(at(2026, 3, 1), 2, "WEEK")], "2026-03-15", id="weeks"),
        pytest.param([(at(2026, 3, 1), 1, "YEAR")], "2027-03-01", id="one year"),
        pytest.param([(at(2026, 1, 31), 2, "MONTH")], "2026-03-31", id="months"),
        pytest.param(
            [(at(2026, 3, 1), 30, "DAY"), (at(2026, 3, 5), 30, "DAY")], "2026-04-30", id="bought before expiry"
        ),
        pytest.param([(at(2026, 3, 5), 30, "DAY"), (at(2026, 3, 1), 30, "DAY")], "2026-04-30", id="in any order"),
        pytest.param(
            [(at(2026, 2, 1), 10, "DAY"), (at(2026, 3, 1), 10, "DAY")], "2026-03-11", id="bought after expiry"
        ),
        pytest.param([(at(2026, 2, 1), 28, "DAY"), (at(2026, 3, 1), 28, "DAY")], "2026-03-29", id="bought at expiry"),
        pytest.param(
            [(at(2026, 3, 1), 30, "DAY"), (at(2026, 8, 1), 30, "DAY")], "2026-03-31", id="one that starts later"
        ),
        pytest.param([(at(2026, 1, 31), 1, "MONTH")] * 3, "2026-04-30", id="stays at the end of the month"),
        pytest.param(
            [(at(2026, 1, 31), 1, "MONTH"), (at(2026, 2, 1), 20, "DAY")], "2026-03-20", id="a month and days"
        ),
        pytest.param(
            [(at(2026, 1, 31), 1, "MONTH"), (at(2026, 2, 28), 1, "MONTH")],
            "2026-03-31",
            id="bought at the end of a month",
        ),
        pytest.param([(at(2024, 2, 29), 3, "YEAR")], "2027-02-28", id="a leap day"),
    ],
)
def test_it_expires_after_all_time_volumes(subscribe, validate, terms, expected):
    validation = validate(subscribe(*terms))

    assert validation["valid"] == "true"
    assert validation["expires"] == f"{expected}T12:00:00.000Z"


@pytest.mark.parametrize(
    "terms",
    [
        pytest.param([], id="no license"),
        pytest.param([(at(2026, 2, 1), 20, "DAY")], id="expired"),
        pytest.param([(at(2026, 2, 28), 10, "DAY")], id="expires at this moment"),
        pytest.param([(at(2026, 4, 1), 20, "DAY")], id="not started"),
        pytest.param([(at(2026, 2, 1), 20, "DAY"), (at(2026, 4, 1), 20, "DAY")], id="between two licenses"),
    ],
)
def test_it_is_not_valid(subscribe, validate, terms):
    validation = validate(subscribe(*terms))

    assert expires(validation) == ("false", None)
    assert validation["warningLevel"] == "RED"


def test_without_a_start_date_it_starts_when_it_was_created(subscribe, validate):
    licensee = subscribe((None, 30, "DAY"))
    License.objects.update(created_at=at(2026, 3, 3))

    assert expires(validate(licensee)) == ("true", "2026-04-02T12:00:00.000Z")


def test_inactive_licenses_do_not_count(subscribe, validate):
    licensee = subscribe((at(2026, 3, 1), 30, "DAY"), (at(2026, 3, 1), 30, "DAY"))
    License.objects.filter(pk=licensee.licenses.last().pk).update(active=False)

    assert expires(validate(licensee)) == ("true", "2026-03-31T12:00:00.000Z")


@pytest.mark.parametrize(("day", "level"), [(8, "GREEN"), (9, "YELLOW"), (10, "YELLOW"), (11, "RED")])
def test_it_warns_from_80_percent_on(subscribe, validate, now, day, level):
    licensee = subscribe((at(2026, 3, 1), 10, "DAY"))
    now.move_to(at(2026, 3, day))

    assert validate(licensee)["warningLevel"] == level


def test_a_transferred_renewal_extends_by_whole_periods(subscribe, validate):
    own = subscribe((at(2026, 3, 1), 1, "MONTH"))
    bought = subscribe(*[(at(2026, 3, 9), 1, "MONTH")] * 3)
    Licensee.objects.filter(pk=bought.pk).update(marked_for_transfer=True)
    assert expires(validate(own)) == ("true", "2026-04-01T12:00:00.000Z")

    transfer(own, bought, actor="test")

    assert expires(validate(own)) == ("true", "2026-07-01T12:00:00.000Z")


@pytest.mark.parametrize("began", [at(2026, 3, 9), at(2026, 3, 1), at(2026, 2, 20), at(2025, 3, 1)])
def test_a_transferred_renewal_extends_by_its_full_term_whenever_it_started(subscribe, validate, began):
    own = subscribe((at(2026, 3, 5), 1, "MONTH"))
    bought = subscribe(*[(began, 1, "MONTH")] * 3)
    Licensee.objects.filter(pk=bought.pk).update(marked_for_transfer=True)

    transfer(own, bought, actor="test")

    assert expires(validate(own)) == ("true", "2026-07-05T12:00:00.000Z")


def test_a_renewal_transferred_after_expiry_keeps_its_own_start(subscribe, validate):
    own, bought = subscribe((at(2025, 3, 5), 1, "MONTH")), subscribe((at(2026, 3, 1), 1, "MONTH"))
    Licensee.objects.filter(pk=bought.pk).update(marked_for_transfer=True)

    transfer(own, bought, actor="test")

    assert expires(validate(own)) == ("true", "2026-04-01T12:00:00.000Z")


# Random purchases and transfers, compared with a calendar of paid days.

PURCHASES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60), st.sampled_from([1, 7]), st.integers(1, 4)))
TRANSFERS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=3)


def paid_days(purchases):
    """The days that are paid for. Each purchase takes the next free days, starting on the day of the purchase."""
    paid: set[int] = set()
    for day, length in sorted(purchases):
        while length:
            length -= day not in paid
            paid.add(day)
            day += 1
    return paid


@given(PURCHASES, TRANSFERS, st.integers(0, 120))
def test_it_is_valid_on_exactly_the_paid_days(purchases, transfers, today):
    numbers = count(1)
    holdings: list[list[License]] = [[], [], []]
    bought: list[list[tuple[int, int]]] = [[], [], []]
    for who, day, period, volume in purchases:
        unit = "DAY" if period == 1 else "WEEK"
        begin = NOW + day * DAY
        holdings[who].append(License(pk=next(numbers), start_date=begin, time_volume=volume, time_volume_period=unit))
        bought[who].append((day, volume * period))
    for source, target in transfers:
        if source != target:
            for held in (holdings, bought):
                held[target].extend(held[source])
                held[source].clear()

    for licenses, lengths in zip(holdings, bought, strict=True):
        paid = paid_days(lengths)
        span = find_span(NOW + today * DAY, licenses)

        assert (span is not None) == (today in paid)
        if span:
            assert (span.end - NOW).days == next(day for day in range(today, 10_000) if day not in paid)


def test_a_time_volume_beyond_the_calendar_ends_at_its_last_date():
    license = License(pk=1, start_date=NOW, time_volume=2_000_000_000, time_volume_period="DAY")

    span = find_span(NOW, [license])

    assert span and span.end == FOREVER
