"""Applies tracking events from mail providers to deliveries. Events arrive in any order, and more than once.

A web process may save an event while a worker saves its delivery. Each commits its row before it looks for the other,
so at least one of them finds it. The sweep matches what a crashed process left behind.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from anymail.signals import AnymailTrackingEvent, EventType
from django.conf import settings
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
from work.retention import delete_in_batches

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

# A delivery gets the highest status reported; it never goes back to a lower one.
RANKS: list[set[Status]] = [
    {Status.SENT},
    {Status.DELIVERED},
    {Status.OPENED},
    {Status.BOUNCED, Status.REJECTED},
    {Status.COMPLAINED},
]

# The sweep retries unmatched events for the first period, and deletes them after the second.
MATCHING_PERIOD = timedelta(minutes=10)
UNMATCHED_RETENTION = timedelta(days=3)


def record(event: AnymailTrackingEvent, *, provider: str, merchant: Merchant | None = None) -> None:
    """Save an event once and update its delivery.

    A merchant's own provider is trusted only about that merchant's e-mails.
    """
    kind = KINDS.get(event.event_type)
    message_id = _bare(event.message_id)
    if not kind or not message_id:
        return

    TrackingEvent.objects.get_or_create(
        fingerprint=_fingerprint(event, kind, provider, merchant),
        defaults={
            "merchant": merchant,
            "message_id": message_id,
            "kind": kind,
            "reason": _reason(event) if kind in EXPLAINED else "",
            "occurred_at": event.timestamp or timezone.now(),
        },
    )
    # Also for a repeated event: the first run may have crashed halfway.
    for delivery in _sent_as({message_id}):
        match(delivery)


def match(delivery: Delivery) -> None:
    """Update a sent delivery from its events, including those that arrived before its Message-ID was saved.

    Events from a merchant's own provider count only for that merchant's deliveries.
    """
    ours = Q(merchant=None) | Q(merchant=delivery.order.merchant_id)
    TrackingEvent.objects.filter(ours, delivery=None, message_id=_bare(delivery.message_id)).update(delivery=delivery)
    events = delivery.tracking_events.exclude(kind=Kind.DEFERRED)
    # The first of each kind: an e-mail can be opened many times.
    for event in events.order_by("kind", "occurred_at").distinct("kind"):
        _advance(delivery, event)


def match_all(deliveries: Sequence[Delivery]) -> None:
    """Match several deliveries, in one query if none has events, as is usual so soon after sending."""
    message_ids = {_bare(delivery.message_id) for delivery in deliveries}
    events = TrackingEvent.objects.filter(Q(delivery=None, message_id__in=message_ids) | Q(delivery__in=deliveries))
    reported = {name for names in events.values_list("delivery", "message_id") for name in names}
    for delivery in deliveries:
        if reported.intersection([delivery.pk, _bare(delivery.message_id)]):
            match(delivery)


def match_late_events() -> None:
    """Match events that missed their delivery, and delete old events of unknown e-mails."""
    unmatched = TrackingEvent.objects.filter(delivery=None)
    delete_in_batches(unmatched.filter(received_at__lt=Now() - UNMATCHED_RETENTION).order_by("received_at"))
    for delivery in _sent_as(
        unmatched.filter(received_at__gt=Now() - MATCHING_PERIOD).values_list("message_id", flat=True)
    ):
        match(delivery)


def purge() -> None:
    """Delete old events. Their deliveries keep the status that they led to."""
    old = Now() - timedelta(days=settings.MAIL_EVENT_RETENTION)
    delete_in_batches(TrackingEvent.objects.filter(received_at__lt=old).order_by("received_at"))


def _sent_as(message_ids: Iterable[str]) -> QuerySet[Delivery]:
    forms = [form for message_id in message_ids for form in (message_id, f"<{message_id}>")]
    return Delivery.objects.filter(message_id__in=forms).select_related("order")


@transaction.atomic
def _advance(delivery: Delivery, event: TrackingEvent) -> None:
    status = TrackingEvent.STATUSES[Kind(event.kind)]
    rank = next(rank for rank, statuses in enumerate(RANKS) if status in statuses)
    lower = set().union(*RANKS[:rank])
    changes = {"status": status, "reason": event.reason}
    if Delivery.objects.filter(pk=delivery.pk, status__in=lower).update(**changes) and status in Delivery.RETURNED:
        _report_bounce(delivery)


def _report_bounce(delivery: Delivery) -> None:
    """Notify the merchant and its shop, in the transaction that first records the bounce."""
    notify(DeliveryBounced, delivery.order.merchant, delivery)
    emit_bounce(delivery)


def _reason(event: AnymailTrackingEvent) -> str:
    """Return the reason without the customer's address, so that erasing the customer's data leaves nothing here."""
    reason = _text(event.mta_response or event.description or event.reject_reason, 2000)
    if event.recipient:
        reason = re.sub(re.escape(event.recipient), "the address", reason, flags=re.IGNORECASE)
    return reason[:500]


def _bare(message_id: str | None) -> str:
    """Strip the angle brackets of a Message-ID, which some providers leave out."""
    return _text(message_id, 255).strip("<>")


def _text(value: Any, length: int) -> str:
    return " ".join(storable(str(value or "")).split())[:length]


def _fingerprint(event: AnymailTrackingEvent, kind: Kind, provider: str, merchant: Merchant | None) -> bytes:
    # By time, because a provider may give a repeated event another id.
    moment = event.timestamp.isoformat() if event.timestamp else event.event_id
    facts = [provider, merchant and merchant.pk, event.message_id, kind, event.recipient, moment]
    return hashlib.sha256(json.dumps(facts, default=str).encode()).digest()
