"""Fetches orders that a shop had while we were down, or before it was connected, from its API."""

from datetime import datetime, timedelta

from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext

from shops.changes import Parked
from shops.kinds import KINDS
from shops.kinds.base import Missed
from shops.models import CatchUp, Connection, SaleReference
from shops.storing import store
from work.attempts import Failure, Policy

INTERVAL = timedelta(days=1)
# Fetches also orders this much older than the last time, because shops change them later.
OVERLAP = timedelta(days=1)


def request(connection: Connection, since: datetime) -> None:
    """Fetch the shop's orders since then, in the background."""
    CatchUp.objects.create(connection=connection, since=since).nudge()


class CatchUpPolicy(Policy[CatchUp]):
    model = CatchUp
    related = ("connection__merchant",)

    def attempt(self, row):
        """Fetch one page. The next attempt fetches the next one, so that none is lost or fetched for too long."""
        if row.connection.removed_at or row.connection.disabled_at:
            row.end(reason=gettext("The shop is switched off or removed."))
            return
        kind = KINDS[row.connection.kind](row.connection)
        try:
            page = kind.list_missed(row.since, row.cursor)
        except Parked as problem:
            raise Failure(str(problem), permanent=True) from problem
        found = store(kind, _leave_out_known(row.connection, page))
        if page.cursor is None:
            row.end(found=F("found") + found, reason="")
        else:
            # Each page has all attempts.
            row._update(due_at=Now(), found=F("found") + found, cursor=page.cursor, reason="", attempts=0)
            row.nudge()


catch_up = CatchUpPolicy().run


def _leave_out_known(connection: Connection, page: Missed) -> list:
    known = set(
        SaleReference.objects.filter(connection=connection, reference__in=page.sales.values()).values_list(
            "reference", flat=True
        )
    )
    return [event for event in page.events if page.sales.get(event.key) not in known]


def request_daily() -> None:
    """Fetch the orders of every connection that allows it, once a day."""
    recent = CatchUp.objects.filter(created_at__gt=Now() - INTERVAL)
    waiting = Connection.objects.kept().filter(catches_up=True, disabled_at=None)
    for connection in waiting.exclude(pk__in=recent.values("connection")):
        last = connection.catch_ups.filter(ended_at__isnull=False, reason="").order_by("-created_at").first()
        # Never before the connection: what the shop sold until then has been delivered otherwise.
        request(connection, max(connection.created_at, last.created_at - OVERLAP) if last else connection.created_at)
