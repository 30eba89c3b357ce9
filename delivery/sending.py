"""Sends e-mails to customers in batches and records each result."""

from datetime import timedelta
from functools import reduce
from operator import or_
from time import monotonic

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext, gettext_noop
from prometheus_client import Counter, Histogram

from delivery import tracking
from delivery.delivery_notices import DeliveryFailed, MailServerRefused
from delivery.events import emit_bounce
from delivery.facts import READ_STATES, Facts, State, read_facts, read_states
from delivery.models import Delivery
from delivery.models.deliveries import ALL, BATCH_SIZE, nudge
from notices.sending import notify
from orders.models import Order, OrderEvent
from outbound.mail import MailError, MailSession
from outbound.models import MailAccount
from webhooks.models import WebhookEvent, WebhookMessage
from webhooks.sending import add_messages
from work import incidents, metrics, sql
from work.attempts import Policy

# Pause between attempts while a merchant's mail server is unreachable, for all of its e-mails.
UNREACHABLE_PAUSE = timedelta(minutes=1)

DELIVERIES = Counter("keywell_deliveries", "E-mails with activation codes.", ["outcome"])
DELIVERY_SECONDS = Histogram(
    "keywell_delivery_seconds",
    "Time from queuing an e-mail, usually at the payment, until the mail server has accepted it.",
    ["kind"],
    buckets=(0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600),
)

# Marks an e-mail as sent and reads the state of the next one, because both are due between two e-mails.
MARK_SENT = f"""
WITH sent AS (
    UPDATE delivery_delivery
    SET status = 'sent', reason = '', message_id = %(message_id)s,
        due_at = NULL, ended_at = statement_timestamp(), sent_at = statement_timestamp()
    WHERE id = %(sent)s AND attempts = %(attempts)s
    RETURNING extract(epoch FROM sent_at - created_at)::float AS seconds
)
SELECT (SELECT count(*) FROM sent) AS marked, (SELECT seconds FROM sent) AS seconds, state.*
FROM (SELECT) AS nothing LEFT JOIN ({READ_STATES}) AS state ON TRUE
"""  # noqa: S608 (a constant)


class Batch(Policy[Delivery]):
    """Sends claimed deliveries one after the other over one connection.

    A crash between the mail server's response and the commit of `_mark_sent` sends that e-mail twice
    (docs/decisions/0003-at-least-once-mail.md). Keep anything else out of that window.
    """

    model = Delivery

    def __init__(self, deliveries: list[Delivery], session: MailSession) -> None:
        self.waiting = deliveries[::-1]  # the next one is the last
        self.session = session
        self.account = session.account
        self.sent: list[Delivery] = []
        self.facts: dict[int, Facts] = {}
        self.state: State | None = None  # of the next one, if it has just been read
        self.events: dict[int, WebhookMessage] = {}  # the first one of each endpoint, whose nudge sends all

    def send(self, until: float) -> None:
        """Send at least one e-mail. Release those that are left at the monotonic time `until`."""
        self._read()
        try:
            while self.waiting:
                self.run_claimed(self.waiting.pop())
                if monotonic() > until:
                    break
        finally:
            self._release()
            self._follow_up()

    def _read(self) -> None:
        try:
            self.facts = read_facts(self.waiting)
        except Exception as error:
            # Each then reads its own, so that one doesn't stop the others.
            incidents.report(error, "a batch of e-mails")
        else:
            self.state = self.facts[self.waiting[-1].pk].state

    def get_request_id(self, delivery):
        facts = self.facts.get(delivery.pk)
        return facts.order.shop_request_id if facts else ""

    def attempt(self, delivery):
        facts = self._current_facts(delivery)
        if facts is None:
            return
        if reason := _explain_refusal(facts) or _explain_missing_member(facts, delivery):
            delivery.end(status=Delivery.Status.CANCELED, reason=reason)
            metrics.count(DELIVERIES, Delivery.Status.CANCELED)
            return
        delivery.readdress()
        message = facts.compose(delivery)
        try:
            message_id = self.session.send(message)
        except MailError as error:
            if self.account:
                if error.unreachable:
                    self._release()
                _record_mail_error(self.account, error)
            raise
        self._mark_sent(delivery, message_id[:255], facts)

    def _current_facts(self, delivery: Delivery) -> Facts | None:
        """Return the facts as of now. None if another worker has the lease by now."""
        state, self.state = self.state, None
        if state is None or state.delivery != delivery.pk:
            state = read_states([delivery.pk]).get(delivery.pk)
        if state is None or state.attempts != delivery.attempts:
            return None
        facts = self.facts.get(delivery.pk)
        return facts if facts and facts.state == state else read_facts([delivery])[delivery.pk]

    def _mark_sent(self, delivery: Delivery, message_id: str, facts: Facts) -> None:
        if not (facts.endpoints and facts.payloads):
            self._update_sent(delivery, message_id)
            return
        with transaction.atomic():
            if self._update_sent(delivery, message_id):
                added = add_messages(facts.endpoints, WebhookEvent.PRODUCT_DELIVERED, facts.payloads)
        for message in added:
            self.events.setdefault(message.endpoint_id, message)

    def _update_sent(self, delivery: Delivery, message_id: str) -> bool:
        ((marked, seconds, *state),) = sql.run(
            MARK_SENT,
            sent=delivery.pk,
            attempts=delivery.attempts,
            message_id=message_id,
            deliveries=[delivery.pk for delivery in self.waiting[-1:]],
        )
        self.state = State(*state) if state[0] else None
        if marked:
            delivery.message_id = message_id
            self.sent.append(delivery)
            metrics.count(DELIVERIES, Delivery.Status.SENT)
            metrics.observe(DELIVERY_SECONDS, seconds, delivery.kind)
        return bool(marked)

    def _release(self) -> None:
        """Undo the claim of those that weren't attempted."""
        if self.waiting:
            mine = reduce(or_, (Q(pk=delivery.pk, attempts=delivery.attempts) for delivery in self.waiting))
            Delivery.objects.filter(mine).update(due_at=Now(), attempts=F("attempts") - 1)
        self.waiting.clear()

    def _follow_up(self) -> None:
        """Do what can wait until the end of the batch. If the worker dies before, the sweep does it."""
        for message in self.events.values():
            message.nudge()
        try:
            if self.sent:
                tracking.match_all(self.sent)
            if self.account and self.sent:
                self.account.note_success()
        except Exception as error:
            incidents.report(error, "a batch of e-mails, after it was sent")

    @transaction.atomic
    def put_off(self, delivery, failure):
        metrics.count(DELIVERIES, "postponed")
        if delivery.postpone(str(failure), at_least=failure.pause) and getattr(failure, "may_have_arrived", False):
            kind = OrderEvent.Kind.MAY_HAVE_ARRIVED
            OrderEvent.objects.create(order=delivery.order, kind=kind, happened_by=gettext_noop("the mail server"))

    @transaction.atomic
    def give_up(self, delivery, failure):
        if delivery.end(status=Delivery.Status.FAILED, reason=str(failure)[:500]):
            notify(DeliveryFailed, delivery.order.merchant, delivery)
            metrics.count(DELIVERIES, Delivery.Status.FAILED)
            if failure.permanent:
                emit_bounce(delivery)


def deliver(pk: int) -> None:
    """Send one delivery if it is due."""
    if delivery := Delivery.objects.claim(pk):
        _send([delivery], MailAccount.objects.for_merchant(delivery.merchant_id), until=0)


class Rounds:
    """Serves merchants in turn: where this process continues."""

    after = 0


def deliver_due(until: float, merchant: int = ALL) -> bool:
    """Send due e-mails, until the monotonic time `until`. Return whether more may be due.

    Those of one merchant or, for ALL, those of merchants that use the installation's mail server.
    """
    while True:
        after = 0 if merchant else Rounds.after
        batch = Delivery.objects.claim_batch(merchant, after=after)
        # Fewer merchants than there is room for: the round is over.
        served = {delivery.merchant_id for delivery in batch}
        Rounds.after = max(served) if len(served) == BATCH_SIZE and not merchant else 0
        if not batch and not after:
            return False
        if len(batch) > BATCH_SIZE // 2:
            nudge(merchant)  # another worker helps
        if batch:
            _send(batch, MailAccount.objects.for_merchant(merchant) if merchant else None, until)
        if monotonic() > until:
            return True


def _send(batch: list[Delivery], account: MailAccount | None, until: float) -> None:
    with MailSession(account) as session:
        Batch(batch, session).send(until)


def _explain_refusal(facts: Facts) -> str:
    order = facts.order
    if order.status != Order.Status.PAID:
        return gettext("The order is {status}.").format(status=gettext(order.status))
    if not order.checkout_page.delivery_allowed:
        return gettext("Delivery isn’t allowed for the checkout page “{checkout_page}”.").format(
            checkout_page=order.checkout_page
        )
    if not order.email:
        return gettext("The customer’s data was erased.")
    if not facts.codes:
        return gettext("Its license was replaced by another one.")
    return ""


def _explain_missing_member(facts: Facts, delivery: Delivery) -> str:
    return "" if facts.recipients(delivery) else gettext("Test e-mails only go to members, and no owner is active.")


@transaction.atomic
def _record_mail_error(account: MailAccount, error: MailError) -> None:
    """Notify the merchant once if its mail server rejects the login. Pause an unreachable server."""
    if error.login_rejected and account.note_refusal(str(error)):
        notify(MailServerRefused, account.merchant)
    if error.unreachable:
        others = Delivery.objects.due().filter(merchant=account.merchant_id)
        others.update(due_at=Now() + UNREACHABLE_PAUSE)
