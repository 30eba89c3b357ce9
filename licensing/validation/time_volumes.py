"""From when until when licenses of so many days, weeks, months or years are good."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from dateutil.relativedelta import relativedelta

from licensing.models import License
from licensing.models.catalog import Period

FOREVER = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass
class Span:
    """A time without gaps."""

    begin: datetime
    length: relativedelta
    end: datetime


def begin_of(license: License, now: datetime) -> datetime:
    """When it is good from; one that was made just now is, also while the database's clock is ahead of ours."""
    return license.start_date or min(license.created_at, now)


def length_of(license: License) -> relativedelta:
    unit = f"{(license.time_volume_period or Period.DAY).lower()}s"
    return relativedelta(**{unit: license.time_volume or 0})  # type: ignore[arg-type]


def end_after(begin: datetime, length: relativedelta) -> datetime:
    try:
        return begin + length
    except (OverflowError, ValueError):
        return FOREVER


def spans(licenses: Iterable[License], now: datetime) -> list[Span]:
    """The licenses' time, one after another: what begins before the end of those before it prolongs them.

    Those that were transferred come after what was there, so they add their whole time to it, however long ago they
    began. A span's end is counted from its beginning, so months from the 31st end on the 31st wherever there is one.
    """
    begins = [(begin_of(license, now), license) for license in licenses]
    found: list[Span] = []
    for begin, license in sorted(begins, key=lambda each: (max(each[0], each[1].moved_at or each[0]), each[1].pk)):
        length = length_of(license)
        if found and begin <= found[-1].end:
            begin, length = found[-1].begin, found[-1].length + length
            found.pop()
        found.append(Span(begin, length, end_after(begin, length)))
    return found


def span_at(now: datetime, licenses: Iterable[License]) -> Span | None:
    return next((span for span in spans(licenses, now) if span.begin <= now < span.end), None)


def why_not(now: datetime, licenses: Iterable[License]) -> str:
    """Why none of the licenses is good now: empty if there are none."""
    found = spans(licenses, now)
    begins = [span.begin for span in found if span.begin > now]
    ends = [span.end for span in found if span.end <= now]
    if begins:
        return f"The time begins on {min(begins):%Y-%m-%d %H:%M} UTC."
    return f"The time ended on {max(ends):%Y-%m-%d %H:%M} UTC." if ends else ""


def next_begin(now: datetime, licenses: Iterable[License]) -> datetime | None:
    """When licenses that are not good yet will be."""
    return next((span.begin for span in spans(licenses, now) if span.begin > now), None)
