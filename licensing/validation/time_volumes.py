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

    A span's end is counted from its beginning, so months from the 31st end on the 31st wherever there is one.
    """
    begins = sorted(((begin_of(license, now), license.pk, license) for license in licenses), key=lambda each: each[:2])
    found: list[Span] = []
    for begin, _, license in begins:
        length = length_of(license)
        if found and begin <= found[-1].end:
            begin, length = found[-1].begin, found[-1].length + length
            found.pop()
        found.append(Span(begin, length, end_after(begin, length)))
    return found


def span_at(now: datetime, licenses: Iterable[License]) -> Span | None:
    return next((span for span in spans(licenses, now) if span.begin <= now < span.end), None)


def next_begin(now: datetime, licenses: Iterable[License]) -> datetime | None:
    """When licenses that are not good yet will be."""
    return next((span.begin for span in spans(licenses, now) if span.begin > now), None)
