"""Send webhooks to merchants' shops. See docs/webhooks.md for the receiver's view.

`emit` is called in the transaction of the event, and a worker sends the messages.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from time import monotonic, time

from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _

from merchants.models import Merchant
from notices.sending import NoticeKind, notify, register
from outbound.outgoing_requests import Answer, OutgoingRequestError, call
from outbound.signatures import sign
from webhooks.models import TEST_EVENT, WebhookEndpoint, WebhookMessage
from webhooks.payloads import Payload
from work.attempts import Failure, NotNow, Policy
from work.locks import advisory_lock
from work.models import database_now
from work.refusals import Refused
from work.request_ids import HEADER
from work.retention import delete_in_batches

# Seconds for a receiver to answer.
REQUEST_TIMEOUT = 15
# Seconds a worker spends on one endpoint. With one last request it stays below CELERY_TASK_TIME_LIMIT.
ENDPOINT_TIMEOUT = 25
# How long nothing is sent to an endpoint that can't be reached.
PAUSE = timedelta(minutes=1)
# An endpoint that fails for this long is disabled.
FAILURE_TIMEOUT = timedelta(days=3)
RETENTION = timedelta(days=30)
# Longer than any transaction.
REMOVED_RETENTION = timedelta(hours=1)


class WebhookDisabled(NoticeKind):
    code, name = "webhook_disabled", _("webhook endpoint disabled")

    def obsolete_reason(self, notice):
        return "" if notice.subject.disabled_at else gettext("The endpoint was enabled again first.")


register(WebhookDisabled)


class NotTaken(Failure):
    """The endpoint answered with a status other than 2xx."""

    def __init__(self, answer: Answer):
        super().__init__(
            gettext("The endpoint answered {status_code}.").format(status_code=answer.status_code),
            pause=answer.retry_after,
        )
        self.status_code = answer.status_code


class WebhookRefused(Refused):
    code = "webhook_refused"


def emit(merchant: Merchant, event: str, *payloads: Payload) -> None:
    """Queue one message per payload for each of the merchant's endpoints that subscribe to the event.

    Call it in the transaction of the event. Payloads must not contain activation codes or customer data.
    """
    known = getattr(merchant, "loaded_listeners", {}).get(event)
    endpoints = subscribed_endpoints([merchant.pk], event)[merchant.pk] if known is None else known
    for message in add_messages(endpoints, event, payloads):
        message.nudge()


def subscribed_endpoints(merchants: Iterable[int], event: str) -> dict[int, list[WebhookEndpoint]]:
    """Return the endpoints that get the event, by the merchant's primary key."""
    found = defaultdict(list)
    endpoints = WebhookEndpoint.objects.filter(merchant__in=merchants, disabled_at=None, events__contains=[event])
    for endpoint in endpoints.only("merchant"):
        found[endpoint.merchant_id].append(endpoint)
    return found


def add_messages(endpoints: list[WebhookEndpoint], event: str, payloads: Iterable[Payload]) -> list[WebhookMessage]:
    """Add one message per payload and endpoint. Return the first of each endpoint: its worker sends the others."""
    events = [(WebhookMessage.make_event_id(), data) for data in payloads]
    messages = WebhookMessage.objects.bulk_create(
        WebhookMessage(endpoint=endpoint, event=event, event_id=event_id, data=data)
        for endpoint in endpoints
        for event_id, data in events
    )
    return messages[:: len(events) or 1]


def send_test(endpoint: WebhookEndpoint) -> WebhookMessage:
    """Queue a test message. Raises WebhookRefused."""
    if endpoint.disabled_at:
        raise WebhookRefused(gettext("This endpoint is disabled. Enable it first."))
    message = WebhookMessage.objects.create(
        endpoint=endpoint, event=TEST_EVENT, event_id=WebhookMessage.make_event_id(), data={"endpoint": endpoint.pk}
    )
    message.nudge()
    return message


# Sending


def send(pk: int) -> None:
    """Send a due message and whatever else is due for its endpoint.

    Only one worker at a time serves an endpoint, so a slow one can't occupy all workers.
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
    related = ("endpoint__merchant",)

    def get_request_id(self, message):
        return message.shop_request_id

    def attempt(self, message):
        endpoint = message.endpoint
        if endpoint.disabled_at:
            message.end(status=WebhookMessage.Status.FAILED, reason=gettext("The endpoint is disabled."))
            return
        body = build_body(message)
        signature = sign(endpoint.live_secrets(), message.event_id, int(time()), body)
        answer = call(
            endpoint.merchant,
            "POST",
            endpoint.url,
            body=body,
            headers=build_headers(message) | signature,
            logged=body.decode(),
            is_test=endpoint.merchant.is_test,
            timeout=REQUEST_TIMEOUT,
            attempt=message.attempts,
            request_id=message.request_id,
        )
        if not 200 <= answer.status_code < 300:
            raise NotTaken(answer)
        message.end(status=WebhookMessage.Status.DELIVERED, reason="")
        if endpoint.failing_since:
            WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failing_since=None)

    def fail(self, message, failure):
        super().fail(message, failure)
        endpoint = message.endpoint
        if isinstance(failure, NotNow) or not isinstance(failure, OutgoingRequestError | NotTaken):
            return  # not the endpoint's fault
        WebhookEndpoint.objects.filter(pk=endpoint.pk, failing_since=None).update(failing_since=Now())
        if isinstance(failure, OutgoingRequestError):
            endpoint.messages.due().update(due_at=Now() + PAUSE)
        if isinstance(failure, NotTaken) and failure.status_code == 410:
            stop(endpoint, gettext("The endpoint answered 410 Gone."))
        elif endpoint.failing_since and endpoint.failing_since < database_now() - FAILURE_TIMEOUT:
            stop(
                endpoint,
                gettext("Every request failed for three days. Last error: {failure}").format(failure=failure)[:500],
            )

    def give_up(self, message, failure):
        message.end(status=WebhookMessage.Status.FAILED, reason=str(failure)[:500])


def build_headers(message: WebhookMessage) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if message.endpoint.merchant.is_test:
        headers["Keywell-Test"] = "true"
    return headers | {HEADER: message.shop_request_id} if message.shop_request_id else headers


def build_body(message: WebhookMessage) -> bytes:
    event = {"type": message.event, "timestamp": message.created_at, "data": message.data}
    if message.endpoint.merchant.is_test:
        event["test"] = True
    return json.dumps(event, cls=DjangoJSONEncoder, ensure_ascii=False, separators=(",", ":")).encode()


# Enabling, disabling and resending


@transaction.atomic
def stop(endpoint: WebhookEndpoint, reason: str) -> None:
    """Disable an endpoint that keeps failing, and notify the merchant."""
    if disable(endpoint, reason):
        notify(WebhookDisabled, endpoint.merchant, endpoint)


@transaction.atomic
def disable(endpoint: WebhookEndpoint, reason: str = "") -> bool:
    """Disable an endpoint and fail its queued messages, which stay in the log. False if it was already disabled."""
    enabled = WebhookEndpoint.objects.filter(pk=endpoint.pk, disabled_at=None)
    if not enabled.update(disabled_at=Now(), disabled_reason=reason):
        return False
    queued = endpoint.messages.filter(status=WebhookMessage.Status.QUEUED)
    queued.update(
        status=WebhookMessage.Status.FAILED,
        due_at=None,
        ended_at=Now(),
        reason=gettext_noop("The endpoint is disabled."),
    )
    return True


def enable(endpoint: WebhookEndpoint) -> None:
    """Enable an endpoint for future events. Failed messages are not resent."""
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(disabled_at=None, disabled_reason="", failing_since=None)


@transaction.atomic
def remove(endpoint: WebhookEndpoint) -> None:
    """Remove an endpoint and its secrets. Its rows are deleted later, when no transaction can still refer to them.

    Otherwise a payment that has just read the endpoint would fail, or an e-mail would be sent twice.
    """
    disable(endpoint)
    endpoint.removed_at, endpoint.secret, endpoint.previous_secret = timezone.now(), "", None
    endpoint.save(update_fields=["removed_at", "secret", "previous_secret"])


@transaction.atomic
def send_again(endpoint: WebhookEndpoint, *, message: WebhookMessage | None = None) -> int:
    """Queue a message again, whatever its status, or all failed ones. Return how many. Raises WebhookRefused."""
    # Serializes with disabling the endpoint, which fails queued messages.
    if WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk).disabled_at:
        raise WebhookRefused(gettext("This endpoint is disabled. Enable it first."))
    failed = endpoint.messages.filter(status=WebhookMessage.Status.FAILED)
    again = endpoint.messages.filter(pk=message.pk) if message else failed
    first = again.first()
    again.filter(attempts__gte=WebhookMessage.MAX_ATTEMPTS).update(attempts=0)
    count = again.update(status=WebhookMessage.Status.QUEUED, due_at=Now(), ended_at=None, reason="")
    if first:
        first.nudge()  # its worker sends the others
    return count


def purge() -> None:
    """Delete old, finished messages, and removed endpoints with theirs."""
    old = WebhookMessage.objects.filter(due_at=None, created_at__lt=Now() - RETENTION).order_by("created_at")
    removed = WebhookEndpoint.objects.filter(removed_at__lt=Now() - REMOVED_RETENTION)
    delete_in_batches(old)
    delete_in_batches(WebhookMessage.objects.filter(endpoint__in=removed))
    removed.filter(messages=None).delete()
