"""What became of an e-mail after it was sent, as its provider tells it: in any order, and more than once.

An event and the delivery it is about can be written at the same moment, by a web process and by a worker. Each commits
what it has before it looks for the other, so one of them finds it; the sweep finds what a dying process did not.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from anymail.signals import AnymailTrackingEvent, EventType
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from delivery.delivery_notices import DeliveryBounced
from delivery.events import emit_bounce
from delivery.models import Delivery, TrackingEvent
from merchants.models import Merchant
from notices.sending import notify
from outbound.outgoing_requests import storable

Kind = TrackingEvent.Kind
Status = Delivery.Status

KINDS = {
    EventType.DEFERRED: Kind.DEFERRED,
    EventType.DELIVERED: Kind.DELIVERED,
    EventType.OPENED: Kind.OPENED,
    EventType.CLICKED: Kind.CLICKED,
    EventType.BOUNCED: Kind.BOUNCED,
    EventType.REJECTED: Kind.REJECTED,
    EventType.FAILED: Kind.REJECTED,
    EventType.COMPLAINED: Kind.COMPLAINED,
}

EXPLAINED = {Kind.DEFERRED, Kind.BOUNCED, Kind.REJECTED, Kind.COMPLAINED}

# A delivery stands as the highest of what was told.
RANKS: list[set[Status]] = [
    {Status.SENT},
    {Status.DELIVERED},
    {Status.OPENED},
    {Status.BOUNCED, Status.REJECTED},
    {Status.COMPLAINED},
]

# An event of an e-mail that is not known is looked at again for so long, and kept for so long.
LATE_AFTER = timedelta(minutes=10)
MATCHING_TIMEOUT = timedelta(days=3)


def record(told: AnymailTrackingEvent, *, provider: str, merchant: Merchant | None = None) -> None:
    """Keep what a provider told, once, and have the delivery stand accordingly.

    A merchant's own provider is believed about that merchant's e-mails only.
    """
    kind = KINDS.get(told.event_type)
    message_id = _bare(told.message_id)
    if not kind or not message_id:
        return

    TrackingEvent.objects.get_or_create(
        fingerprint=_fingerprint(told, kind, provider, merchant),
        defaults={
            "merchant": merchant,
            "message_id": message_id,
            "kind": kind,
            "reason": _reason(told) if kind in EXPLAINED else "",
            "occurred_at": told.timestamp or timezone.now(),
        },
    )
    # Told again, too: the first time may have ended halfway.
    for delivery in _sent_as({message_id}):
        match(delivery)


def match(delivery: Delivery) -> None:
    """Have a delivery that was sent stand as its events say, those included that came before its Message-ID.

    What a merchant's own provider told counts for that merchant's deliveries only.
    """
    ours = Q(merchant=None) | Q(merchant=delivery.order.merchant_id)
    TrackingEvent.objects.filter(ours, delivery=None, message_id=_bare(delivery.message_id)).update(delivery=delivery)
    told = delivery.tracking_events.exclude(kind=Kind.DEFERRED)
    # The first of each kind: there may be many that it was opened.
    for event in told.order_by("kind", "occurred_at").distinct("kind"):
        _advance(delivery, event)


def match_late_events() -> None:
    """Find deliveries that were written when their events were, and forget events of e-mails that are not ours."""
    unmatched = TrackingEvent.objects.filter(delivery=None)
    unmatched.filter(received_at__lt=Now() - MATCHING_TIMEOUT).delete()
    for delivery in _sent_as(
        unmatched.filter(received_at__gt=Now() - LATE_AFTER).values_list("message_id", flat=True)
    ):
        match(delivery)


def _sent_as(message_ids: Iterable[str]) -> QuerySet[Delivery]:
    either_way = [form for message_id in message_ids for form in (message_id, f"<{message_id}>")]
    return Delivery.objects.filter(message_id__in=either_way).select_related("order")


@transaction.atomic
def _advance(delivery: Delivery, event: TrackingEvent) -> None:
    status = TrackingEvent.STATUSES[Kind(event.kind)]
    rank = next(rank for rank, statuses in enumerate(RANKS) if status in statuses)
    lower = set().union(*RANKS[:rank])
    changes = {"status": status, "reason": event.reason}
    if Delivery.objects.filter(pk=delivery.pk, status__in=lower).update(**changes) and status in Delivery.RETURNED:
        _note_bounce(delivery)


def _note_bounce(delivery: Delivery) -> None:
    """Tell the merchant and its shop, in the transaction in which an e-mail is first known to have come back."""
    notify(DeliveryBounced, delivery.order.merchant, delivery)
    emit_bounce(delivery)


def _reason(told: AnymailTrackingEvent) -> str:
    """Why, without the customer's address: who that is says the delivery, as long as the customer is not forgotten."""
    reason = _text(told.mta_response or told.description or told.reject_reason, 2000)
    if told.recipient:
        reason = re.sub(re.escape(told.recipient), "the address", reason, flags=re.IGNORECASE)
    return reason[:500]


def _bare(message_id: str | None) -> str:
    """A Message-ID without the angle brackets, which some providers leave out."""
    return _text(message_id, 255).strip("<>")


def _text(value: Any, length: int) -> str:
    return " ".join(storable(str(value or "")).split())[:length]


def _fingerprint(told: AnymailTrackingEvent, kind: Kind, provider: str, merchant: Merchant | None) -> bytes:
    # By its time, for what a provider calls its event can change when it is told again.
    moment = told.timestamp.isoformat() if told.timestamp else told.event_id
    facts = [provider, merchant and merchant.pk, told.message_id, kind, told.recipient, moment]
    return hashlib.sha256(json.dumps(facts, default=str).encode()).digest()
