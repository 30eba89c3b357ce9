"""Telling merchants' shops what happened. See docs/webhooks.md for what they see of it.

`announce` stands in the transaction in which the event happens; a worker sends it.
"""

import json
from datetime import timedelta
from time import monotonic, time

from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from merchants.models import Merchant
from notices.sending import NoticeKind, notify, register
from outbound.outgoing_requests import Answer, OutgoingRequestError, call
from outbound.signatures import sign
from webhooks.models import TEST_EVENT, WebhookEndpoint, WebhookMessage
from webhooks.payloads import Payload
from work.attempts import Failure, NotNow, Policy
from work.models import advisory_lock, database_now
from work.refusals import Refused

# For a receiver to answer in.
REQUEST_TIMEOUT = 15
# How long one worker is at one endpoint's messages; with the last of them still below CELERY_TASK_TIME_LIMIT.
ENDPOINT_TIMEOUT = 25
# An endpoint that cannot be reached is left alone for so long, whatever else there is for it.
PAUSE = timedelta(minutes=1)
# One that takes nothing for so long is disabled.
FAILURE_TIMEOUT = timedelta(days=3)
RETENTION = timedelta(days=30)
# Longer than any transaction takes.
REMOVED_RETENTION = timedelta(hours=1)
DELETE_BATCH_SIZE = 500


class WebhookDisabled(NoticeKind):
    code, name = "webhook_disabled", "webhook endpoint disabled"

    def why_past(self, notice):
        return "" if notice.subject.disabled_at else "The endpoint was enabled again before it went out."


register(WebhookDisabled)


class NotTaken(Failure):
    """The endpoint answered, but not that it took the message."""

    def __init__(self, answer: Answer):
        super().__init__(f"It answered {answer.status_code}.", pause=answer.retry_after)
        self.status_code = answer.status_code


class WebhookRefused(Refused):
    code = "webhook_refused"


def emit(merchant: Merchant, event: str, *payloads: Payload) -> None:
    """Have the merchant's endpoints that chose this event told of it, once for each of the facts.

    To be called in the transaction in which it happened. Neither activation codes nor anything about the customer may
    stand in the facts: a shop finds its customer by the order.
    """
    endpoints = list(merchant.webhook_endpoints.filter(disabled_at=None, events__contains=[event]).only("pk"))
    happened = [(WebhookMessage.make_event_id(), data) for data in payloads]
    for endpoint in endpoints if happened else ():
        first, *_ = WebhookMessage.objects.bulk_create(
            WebhookMessage(endpoint=endpoint, event=event, event_id=event_id, data=data) for event_id, data in happened
        )
        first.nudge()  # whoever sends it sends the others


def send_test(endpoint: WebhookEndpoint) -> WebhookMessage:
    """Have an endpoint told of nothing, to see whether it listens. Raises WebhookRefused."""
    if endpoint.disabled_at:
        raise WebhookRefused("The endpoint is disabled. Enable it first.")
    message = WebhookMessage.objects.create(
        endpoint=endpoint, event=TEST_EVENT, event_id=WebhookMessage.make_event_id(), data={"endpoint": endpoint.pk}
    )
    message.nudge()
    return message


# Sending


def send(pk: int) -> None:
    """Send a message that is due, and whatever else is due to its endpoint.

    One worker at a time is at an endpoint: one that is slow keeps no others from being served.
    """
    message = WebhookMessage.objects.filter(pk=pk).first()
    if message is None:
        return
    with advisory_lock("webhooks", message.endpoint_id) as locked:
        if locked:
            _send_due(message.endpoint_id)


def _send_due(endpoint: int) -> None:
    until = monotonic() + ENDPOINT_TIMEOUT
    due = WebhookMessage.objects.filter(endpoint=endpoint).due().order_by("due_at", "pk")
    while message := due.first():
        if monotonic() > until:
            message.nudge()
            return
        WebhookPolicy().run(message.pk)


class WebhookPolicy(Policy[WebhookMessage]):
    model = WebhookMessage

    def attempt(self, message):
        endpoint = message.endpoint
        if endpoint.disabled_at:
            message.end(status=WebhookMessage.Status.FAILED, reason="The endpoint is disabled.")
            return
        body = build_body(message)
        signature = sign(endpoint.live_secrets(), message.event_id, int(time()), body)
        answer = call(
            endpoint.merchant,
            "POST",
            endpoint.url,
            body=body,
            headers={"Content-Type": "application/json", **signature},
            kept=body.decode(),
            timeout=REQUEST_TIMEOUT,
            attempt=message.attempts,
            request_id=message.request_id,
        )
        if not 200 <= answer.status_code < 300:
            raise NotTaken(answer)
        message.end(status=WebhookMessage.Status.DELIVERED, reason="")
        WebhookEndpoint.objects.filter(pk=endpoint.pk).exclude(failing_since=None).update(failing_since=None)

    def fail(self, message, failure):
        super().fail(message, failure)
        endpoint = message.endpoint
        if isinstance(failure, NotNow) or not isinstance(failure, OutgoingRequestError | NotTaken):
            return  # it is not the endpoint's fault
        WebhookEndpoint.objects.filter(pk=endpoint.pk, failing_since=None).update(failing_since=Now())
        if isinstance(failure, OutgoingRequestError):
            endpoint.messages.due().update(due_at=Now() + PAUSE)
        if isinstance(failure, NotTaken) and failure.status_code == 410:
            stop(endpoint, "It answered 410 Gone.")
        elif endpoint.failing_since and endpoint.failing_since < database_now() - FAILURE_TIMEOUT:
            stop(endpoint, f"It took nothing for three days. The last time: {failure}"[:500])

    def give_up(self, message, failure):
        message.end(status=WebhookMessage.Status.FAILED, reason=str(failure)[:500])


def build_body(message: WebhookMessage) -> bytes:
    event = {"type": message.event, "timestamp": message.created_at, "data": message.data}
    return json.dumps(event, cls=DjangoJSONEncoder, ensure_ascii=False, separators=(",", ":")).encode()


# Ending and beginning again


@transaction.atomic
def stop(endpoint: WebhookEndpoint, reason: str) -> None:
    """Disable an endpoint that is of no use, and tell the merchant."""
    if disable(endpoint, reason):
        notify(WebhookDisabled, endpoint.merchant, endpoint)


@transaction.atomic
def disable(endpoint: WebhookEndpoint, reason: str = "") -> bool:
    """Send nothing more to an endpoint; what is queued stays in its log. False if it was disabled already."""
    enabled = WebhookEndpoint.objects.filter(pk=endpoint.pk, disabled_at=None)
    if not enabled.update(disabled_at=Now(), disabled_reason=reason):
        return False
    queued = endpoint.messages.filter(status=WebhookMessage.Status.QUEUED)
    queued.update(status=WebhookMessage.Status.FAILED, due_at=None, ended_at=Now(), reason="The endpoint is disabled.")
    return True


def enable(endpoint: WebhookEndpoint) -> None:
    """Tell an endpoint of what happens from now on. What failed is not sent again by this."""
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(disabled_at=None, disabled_reason="", failing_since=None)


@transaction.atomic
def remove(endpoint: WebhookEndpoint) -> None:
    """Take an endpoint away, with its secrets. Its rows are deleted when no transaction can be about to refer to them.

    A payment that found it a moment ago must not fail for it, nor a mail be sent twice.
    """
    disable(endpoint)
    endpoint.removed_at, endpoint.secret, endpoint.previous_secret = timezone.now(), "", None
    endpoint.save(update_fields=["removed_at", "secret", "previous_secret"])


@transaction.atomic
def send_again(endpoint: WebhookEndpoint, *, message: WebhookMessage | None = None) -> int:
    """Have a message sent now, whatever became of it; or all that failed. Return how many. Raises WebhookRefused."""
    # Serializes it with the endpoint's being disabled, which fails what is queued.
    if WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk).disabled_at:
        raise WebhookRefused("The endpoint is disabled. Enable it first.")
    failed = endpoint.messages.filter(status=WebhookMessage.Status.FAILED)
    again = endpoint.messages.filter(pk=message.pk) if message else failed
    first = again.first()
    again.filter(attempts__gte=WebhookMessage.MAX_ATTEMPTS).update(attempts=0)
    count = again.update(status=WebhookMessage.Status.QUEUED, due_at=Now(), ended_at=None, reason="")
    if first:
        first.nudge()  # whoever sends it sends the others
    return count


def purge() -> None:
    """Forget some of the messages that are old and done with, and of what was removed."""
    old = WebhookMessage.objects.filter(due_at=None, created_at__lt=Now() - RETENTION).order_by("created_at")
    removed = WebhookEndpoint.objects.filter(removed_at__lt=Now() - REMOVED_RETENTION)
    for messages in (old, WebhookMessage.objects.filter(endpoint__in=removed)):
        WebhookMessage.objects.filter(pk__in=messages.values("pk")[:DELETE_BATCH_SIZE]).delete()
    removed.filter(messages=None).delete()
