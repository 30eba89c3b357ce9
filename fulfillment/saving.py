"""Saves codes, queues their e-mails and records the outcome of fulfillments, for one item or a thousand at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction

from delivery.models import DeliveredCode, Delivery
from delivery.models.deliveries import ALL, nudge
from fulfillment.models import Fulfillment
from orders.license_texts import hints, loose_fingerprints
from orders.models import ActivationCode, OrderItem
from outbound.mail import make_message_id
from vault.ciphers import encrypt_all
from vault.fingerprints import fingerprints
from work import sql

SAVE = """
    WITH saved AS (
        INSERT INTO orders_activationcode (item_id, unit, code, fingerprint, loose_fingerprint, hint, source, saved_by,
            seen_at, withdrawn_at, withdrawn_by, replaced_by_id)
        SELECT code.*, NULL, NULL, '', NULL
        FROM json_to_recordset(%(codes)s::json) AS code (item bigint, unit integer, code bytea, fingerprint bytea,
            loose bytea, hint text, source text, saved_by text)
        RETURNING id, item_id, unit, saved_at
    ),

    -- New codes join an automatic e-mail that no worker has claimed. The lock keeps workers from claiming it now.
    given AS (
        SELECT * FROM json_to_recordset(%(orders)s::json)
            AS given (order_id bigint, merchant_id bigint, recipient text, message_id text)
    ), unclaimed AS MATERIALIZED (
        SELECT id, order_id FROM delivery_delivery
        WHERE order_id IN (SELECT order_id FROM given) AND kind = 'automatic' AND status = 'queued' AND attempts = 0
        FOR UPDATE OF delivery_delivery
    ), queued AS (
        INSERT INTO delivery_delivery (merchant_id, order_id, kind, status, recipient, message_id, sent_at,
            requested_by, attempts, ended_at, reason)
        SELECT merchant_id, order_id, 'automatic', 'queued', recipient, message_id, NULL, '', 0, NULL, ''
        FROM given WHERE order_id NOT IN (SELECT order_id FROM unclaimed)
        RETURNING id, order_id
    ), email AS (
        SELECT min(id) AS id, order_id, false AS is_new FROM unclaimed GROUP BY order_id
        UNION ALL SELECT id, order_id, true FROM queued
    ), item AS (
        SELECT * FROM json_to_recordset(%(items)s::json) AS item (id bigint, order_id bigint)
    ), carried AS (
        INSERT INTO delivery_deliveredcode (delivery_id, code_id, automatic)
        SELECT email.id, saved.id, true
        FROM saved JOIN item ON item.id = saved.item_id JOIN email ON email.order_id = item.order_id
    ),

    -- The row of a fulfillment is new, or this worker has its lease, which the number of attempts tells.
    outcome AS (
        INSERT INTO fulfillment_fulfillment AS known (item_id, status, due_at, attempts, ended_at, reason, done_at,
            failing_since, sent_by_vendor)
        SELECT item, status, CASE WHEN NOT has_ended THEN statement_timestamp() END, attempts,
            CASE WHEN has_ended THEN statement_timestamp() END, reason,
            CASE WHEN status = 'done' THEN statement_timestamp() END, failing_since, sent_by_vendor
        FROM json_to_recordset(%(outcomes)s::json) AS outcome (item bigint, status text, has_ended boolean,
            attempts integer, reason text, failing_since timestamptz, sent_by_vendor boolean)
        ON CONFLICT (item_id) DO UPDATE SET status = excluded.status, due_at = excluded.due_at,
            ended_at = excluded.ended_at, reason = excluded.reason, done_at = excluded.done_at,
            failing_since = excluded.failing_since, sent_by_vendor = excluded.sent_by_vendor
        WHERE known.attempts = excluded.attempts
        RETURNING id, item_id
    )

    SELECT outcome.id AS fulfillment, item.id AS item, saved.id AS code, saved.unit, saved.saved_at,
        email.id AS email, email.is_new, account.merchant_id AS account_of
    FROM item
    LEFT JOIN outcome ON outcome.item_id = item.id
    LEFT JOIN saved ON saved.item_id = item.id
    LEFT JOIN email ON email.order_id = item.order_id
    LEFT JOIN given ON given.order_id = item.order_id
    LEFT JOIN outbound_mailaccount account ON account.merchant_id = given.merchant_id
"""

# The e-mail of a code that was just saved, as far as answers show it.
QUEUED = [DeliveredCode(delivery=Delivery(kind=Delivery.Kind.AUTOMATIC), automatic=True)]


@dataclass(slots=True)
class NewCode:
    """A code that a source gave to a unit of an item. Saving it sets the last three."""

    item: OrderItem
    unit: int
    code: str
    source: str
    saved_by: str = ""
    id: int = 0
    saved_at: datetime | None = None
    loaded_deliveries: list[DeliveredCode] = field(default_factory=list)


def save(codes: Sequence[NewCode], fulfillments: Sequence[Fulfillment] = ()) -> None:
    """Save new codes, queue their e-mails, and insert or update fulfillments as they are.

    The caller holds the orders' locks. Sets the primary keys of new codes and fulfillments.
    """
    served = {code.item.pk: code.item for code in codes}
    items = served | {fulfillment.item.pk: fulfillment.item for fulfillment in fulfillments}
    # An order can have several instances.
    orders = {item.order_id: item.order for item in served.values() if item.order.checkout_page.delivery_allowed}
    rows = sql.run(
        SAVE,
        codes=_code_parameters(codes),
        orders=[
            {
                "order_id": order.pk,
                "merchant_id": order.merchant_id,
                "recipient": order.email,
                "message_id": make_message_id(),
            }
            for order in orders.values()
        ],
        items=[{"id": item.pk, "order_id": item.order_id} for item in items.values()],
        outcomes=[
            {
                "item": fulfillment.item_id,
                "status": str(fulfillment.status),
                "has_ended": fulfillment.due_at is None,
                "attempts": fulfillment.attempts,
                "reason": fulfillment.reason,
                "failing_since": fulfillment.failing_since,
                "sent_by_vendor": fulfillment.sent_by_vendor,
            }
            for fulfillment in fulfillments
        ],
    )
    _keep(rows, codes, fulfillments)
    for merchant in {row.account_of or ALL for row in rows if row.is_new}:
        transaction.on_commit(partial(nudge, merchant), robust=True)


def _code_parameters(codes: Sequence[NewCode]) -> list[dict[str, Any]]:
    texts = [code.code for code in codes]
    digests = fingerprints(texts)
    column = ActivationCode._meta.get_field("code")
    places = [column.place((code.item.pk, code.unit, digest)) for code, digest in zip(codes, digests, strict=True)]
    return [
        {
            "item": code.item.pk,
            "unit": code.unit,
            "code": sealed,
            "fingerprint": digest,
            "loose": loose,
            "hint": hint,
            "source": code.source,
            "saved_by": code.saved_by,
        }
        for code, sealed, digest, loose, hint in zip(
            codes, encrypt_all(texts, places), digests, loose_fingerprints(texts), hints(texts), strict=True
        )
    ]


def _keep(rows: Sequence[Any], codes: Sequence[NewCode], fulfillments: Sequence[Fulfillment]) -> None:
    """Set what only the database knew."""
    by_unit = {(row.item, row.unit): row for row in rows}
    for code in codes:
        row = by_unit[code.item.pk, code.unit]
        code.id, code.saved_at = row.code, row.saved_at
        code.loaded_deliveries = QUEUED if row.email else []
    by_item = {row.item: row for row in rows}
    for fulfillment in fulfillments:
        fulfillment.pk = by_item[fulfillment.item_id].fulfillment or fulfillment.pk
        fulfillment._state.adding, fulfillment._state.db = False, "default"
