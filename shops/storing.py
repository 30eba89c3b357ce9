"""Stores events. From then on, nothing is lost."""

from django.db import transaction

from outbound.encodings import storable
from shops.kinds.base import Received, ShopKind
from shops.models import Event
from work import sql
from work.request_ids import current_request_id

# Events that were stored before are left out: senders repeat them, and bursts of repetitions must cost nothing.
STORE = """
    INSERT INTO shops_event (connection_id, key, topic, body, is_test, fetches, state, cause, waits_for, entered_email,
        order_id, attempts, ended_at, reason, shop_request_id)
    SELECT %(connection)s, key, topic, body, is_test, fetches, 'received', '', '{}', '', NULL, 0, NULL, '', %(request)s
    FROM json_to_recordset(%(events)s::json) AS event (key text, topic text, body bytea, is_test boolean,
        fetches boolean)
    ON CONFLICT (connection_id, key) DO NOTHING
    RETURNING id, fetches
"""


def store(kind: ShopKind, events: list[Received], *, nudge: bool = True) -> int:
    """Store events that are new, and queue their tasks or leave that to the sweep. Return how many are."""
    connection = kind.connection
    column = Event._meta.get_field("body")
    rows = []
    for event in events:
        body = column.seal(event.body, column.place((connection.pk, event.stored_key)))
        row = {"key": event.stored_key, "topic": storable(event.topic)[:100], "body": f"\\x{body.hex()}"}
        rows.append(row | {"is_test": event.is_test, "fetches": kind.asks(event)})
    stored = sql.run(STORE, connection=connection.pk, request=current_request_id(), events=rows) if rows else []
    for row in stored if nudge else ():
        transaction.on_commit(Event(pk=row.id, fetches=row.fetches)._publish, robust=True)
    return len(stored)
