"""How far a test order has come: its steps with their times, what is still to come, and what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext

from delivery.models import Delivery
from fulfillment.history import HistoryLine, order_history
from fulfillment.models import Fulfillment
from orders.models import Order, OrderItem
from webhooks.models import WebhookMessage
from work.models import Retryable
from work.stored_texts import show_stored

# Workers begin within milliseconds. If something is due for longer, they are busy or don't run.
WORKER_TIMEOUT = timedelta(seconds=10)
# For how long the page updates itself.
POLL_TIMEOUT = timedelta(minutes=1)
MAX_MESSAGES = 20


@dataclass(frozen=True)
class Step:
    line: HistoryLine
    elapsed: str  # since the report


@dataclass(frozen=True)
class Wait:
    """Something that hasn't happened, with a link to the page where a person can help."""

    state: str
    text: str
    url: str
    link: str
    row: Retryable

    @property
    def next_attempt(self) -> Retryable | None:
        return self.row if self.row.due_at and self.row.attempts and self.row.reason else None


class Progress:
    def __init__(self, order: Order) -> None:
        self.order = order
        self.age = timezone.now() - order.reported_at
        lines = order_history(order)
        self.items: list[OrderItem] = list(order.items.all())
        self.deliveries: list[Delivery] = list(order.deliveries.all())
        self.messages = list(_messages(order))
        lines += [line for delivery in self.deliveries for line in _queued(delivery)]
        lines += [line for message in self.messages for line in _sent_webhook(message)]
        self.steps = [
            Step(_explain(line), format_elapsed(line.at - order.reported_at))
            for line in sorted(lines, key=lambda line: line.at)
        ]
        self.waits = [
            *(self._wait_for_codes(item) for item in self.items if not item.fulfillment.is_done),
            *(self._wait_for_email(each) for each in self.deliveries if each.status not in Delivery.SUCCESSFUL),
            *(_wait_for_webhook(each) for each in self.messages if each.status != WebhookMessage.Status.DELIVERED),
        ]

    @property
    def state(self) -> str:
        states = {wait.state for wait in self.waits}
        return "failed" if "failed" in states else "waiting" if states else "done"

    @property
    def took(self) -> str:
        return self.steps[-1].elapsed

    @property
    def is_under_way(self) -> bool:
        """Whether a worker is expected to change something soon."""
        return self.age < POLL_TIMEOUT and any(wait.row.due_at for wait in self.waits)

    @property
    def lacks_worker(self) -> bool:
        """Whether something is due for so long that all workers must be busy, or none runs."""
        ours = (wait.row for wait in self.waits)
        return any(row.due_at and timezone.now() - row.due_at > WORKER_TIMEOUT for row in ours)

    @property
    def why_no_email(self) -> str:
        if self.deliveries or self.waits:
            return ""
        if not self.items:
            return gettext("No e-mail was sent: none of its items is one of your products.")
        if not self.order.checkout_page.delivery_allowed:
            return gettext("No e-mail was sent: delivery isn’t allowed for the checkout page “{page}”.").format(
                page=self.order.checkout_page
            )
        return gettext("No e-mail was sent: the source sends the codes itself.")

    def _wait_for_codes(self, item: OrderItem) -> Wait:
        work = item.fulfillment
        text = gettext("No codes for {product} yet.").format(product=item.product.name)
        if work.reason:
            text = gettext("No codes for {product} yet. {reason}").format(
                product=item.product.name, reason=show_stored(work.reason)
            )
        state = "failed" if work.status == Fulfillment.Status.FAILED else "waiting"
        return Wait(state, text, *self._order_link(), row=work)

    def _wait_for_email(self, delivery: Delivery) -> Wait:
        recipient, reason = delivery.recipient, show_stored(delivery.reason)
        if delivery.status != Delivery.Status.QUEUED:
            text = gettext("The e-mail to {recipient} didn’t arrive. {reason} Fix the cause, then resend the code.")
            return Wait("failed", text.format(recipient=recipient, reason=reason), *self._order_link(), row=delivery)
        text = gettext("The e-mail to {recipient} is queued.")
        if reason:
            text = gettext("The e-mail to {recipient} wasn’t accepted by the mail server. {reason}")
        text = text.format(recipient=recipient, reason=reason)
        return Wait("waiting", text, *self._order_link(), row=delivery)

    def _order_link(self) -> tuple[str, str]:
        url = f"{reverse('order', args=[self.order.key])}?merchant={self.order.merchant.slug}"
        return url, gettext("Open the order")


def _messages(order: Order) -> QuerySet[WebhookMessage]:
    messages = WebhookMessage.objects.filter(
        endpoint__merchant=order.merchant_id, created_at__gte=order.reported_at, data__order=order.number
    )
    return messages.select_related("endpoint").order_by("pk")[:MAX_MESSAGES]


def _queued(delivery: Delivery) -> Iterator[HistoryLine]:
    # The history shows only the last state. While that is “queued”, it is this line.
    if delivery.status != Delivery.Status.QUEUED:
        text = gettext("E-mail to {recipient} queued").format(recipient=delivery.recipient)
        yield HistoryLine(delivery.created_at, "mail", text)


def _sent_webhook(message: WebhookMessage) -> Iterator[HistoryLine]:
    names = {"event": message.event, "endpoint": message.endpoint}
    yield HistoryLine(message.created_at, "queued", gettext("Webhook {event} to {endpoint} queued").format(**names))
    if message.ended_at and message.status == WebhookMessage.Status.DELIVERED:
        text = gettext("Webhook {event} delivered to {endpoint}").format(**names)
        yield HistoryLine(message.ended_at, "delivered", text, state=message.status)
    elif message.ended_at:
        text = gettext("Webhook {event} not delivered to {endpoint}").format(**names)
        yield HistoryLine(message.ended_at, "failed", text, note=message.reason, state=message.status)


def _wait_for_webhook(message: WebhookMessage) -> Wait:
    text = gettext("The webhook {event} to {endpoint} is queued.")
    if message.reason:
        text = gettext("The webhook {event} to {endpoint} wasn’t accepted. {reason}")
    text = text.format(event=message.event, endpoint=message.endpoint, reason=show_stored(message.reason))
    state = "failed" if message.status == WebhookMessage.Status.FAILED else "waiting"
    return Wait(state, text, message.endpoint.get_absolute_url(), gettext("Open the endpoint"), row=message)


def _explain(line: HistoryLine) -> HistoryLine:
    if line.kind == "mail" and line.state == Delivery.Status.SENT:
        return replace(line, note=gettext("accepted by the mail server"))
    return line


def format_elapsed(passed: timedelta) -> str:
    """Format a time since the report. Empty for the report itself and what was before it."""
    seconds = passed.total_seconds()
    if seconds <= 0:
        return ""
    if seconds < 1:
        return gettext("{number} ms").format(number=round(seconds * 1000))
    if seconds < 60:
        return gettext("{number} s").format(number=f"{seconds:.1f}")
    return gettext("{minutes} min {seconds} s").format(minutes=int(seconds // 60), seconds=int(seconds % 60))
