"""E-mails with activation codes."""

from collections.abc import Iterable

from django.db import connection, models
from django.db.models import F, Q
from django.db.models.functions import Least
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from merchants.models import MAX_ACTOR, Merchant
from orders.models import ActivationCode, Order
from outbound.models.mail_accounts import MailAccount
from work.models import CALLOUTS, DEFAULT, LEASE, SHARED_TTL, Retryable, RetryableQuerySet, publish

# Deliveries that a worker claims at once.
BATCH_SIZE = 20
# In a task's argument, instead of a merchant: all merchants that use the installation's mail server.
ALL = 0

# Merchants with queued e-mails, found one by one in the index, however many e-mails each has.
WAITING = """
WITH RECURSIVE waiting AS (
    (SELECT merchant_id FROM delivery_delivery
     WHERE due_at IS NOT NULL AND merchant_id > %(after)s ORDER BY merchant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT merchant_id FROM delivery_delivery
            WHERE due_at IS NOT NULL AND merchant_id > waiting.merchant_id ORDER BY merchant_id LIMIT 1)
    FROM waiting WHERE merchant_id IS NOT NULL
), due AS MATERIALIZED (
    SELECT merchant_id, EXISTS (
        SELECT FROM outbound_mailaccount WHERE outbound_mailaccount.merchant_id = waiting.merchant_id
    ) AS has_account
    FROM waiting WHERE EXISTS (
        SELECT FROM delivery_delivery
        WHERE delivery_delivery.merchant_id = waiting.merchant_id AND due_at <= statement_timestamp()
    )
)
"""
READ_DUE = WAITING + "SELECT merchant_id, has_account FROM due"  # noqa: S608
# Each merchant gets an equal share of the batch, so a long queue of one doesn't delay the others. SKIP LOCKED: another
# worker is claiming these rows.
CLAIM = """
, chosen AS (
    SELECT mine.* FROM turns, LATERAL (
        SELECT id, due_at FROM delivery_delivery
        WHERE merchant_id = turns.merchant_id AND due_at <= statement_timestamp()
        ORDER BY LEAST(attempts, 1) DESC, due_at
        LIMIT (SELECT GREATEST(%(size)s / count(*), 1) FROM turns)
        FOR UPDATE SKIP LOCKED
    ) AS mine
)
UPDATE delivery_delivery SET due_at = statement_timestamp() + %(lease)s, attempts = attempts + 1
FROM chosen WHERE delivery_delivery.id = chosen.id
RETURNING delivery_delivery.*, chosen.due_at AS was_due_at
"""
# In the order in which the next batch continues `after` this one: a join may change that of the index.
IN_TURN = ", turns AS MATERIALIZED (SELECT merchant_id FROM due WHERE NOT has_account ORDER BY 1 LIMIT %(size)s)"
ONE_MERCHANT = "WITH turns AS (SELECT %(merchant)s AS merchant_id)"


class DeliveryQuerySet(RetryableQuerySet):
    def claim_batch(self, merchant: int = ALL, *, after: int = 0) -> "list[Delivery]":
        """Claim up to BATCH_SIZE due rows for one attempt each, retries first.

        They belong to one merchant or, for ALL, in equal shares to the next merchants `after` one that use the
        installation's mail server. The lease is that of `claim`.
        """
        source = ONE_MERCHANT if merchant else WAITING + IN_TURN
        parameters = {"merchant": merchant, "after": after, "size": BATCH_SIZE, "lease": LEASE}
        claimed: Iterable[Delivery] = self.raw(source + CLAIM, parameters)  # type: ignore[assignment]
        return sorted(claimed, key=lambda row: (row.attempts == 1, row.was_due_at, row.pk))  # type: ignore[attr-defined]

    def nudge_due(self) -> None:
        """Queue a task for each queue that has due e-mails."""
        with connection.cursor() as cursor:
            cursor.execute(READ_DUE, {"after": ALL})
            due = cursor.fetchall()
        for merchant in {merchant if has_account else ALL for merchant, has_account in due}:
            nudge(merchant)


def nudge(merchant: int) -> None:
    """Queue the task for the due e-mails of a merchant with its own mail server, or of ALL others."""
    publish(Delivery.TASK, merchant, queue=CALLOUTS if merchant else DEFAULT, ttl=SHARED_TTL)


class Delivery(Retryable):
    TASK = "delivery.tasks.deliver"

    class Kind(models.TextChoices):
        AUTOMATIC = "automatic", _("Automatic")
        RESEND = "resend", _("Resend")

    class Status(models.TextChoices):
        QUEUED = "queued", _("Queued")
        SENT = "sent", _("Sent")
        FAILED = "failed", _("Failed")
        CANCELED = "canceled", _("Canceled")  # the order was no longer paid, or delivery not allowed
        # Reported by the provider after it was sent
        DELIVERED = "delivered", _("Delivered")
        OPENED = "opened", _("Opened")
        BOUNCED = "bounced", _("Bounced")
        REJECTED = "rejected", _("Rejected")
        COMPLAINED = "complained", _("Marked as spam")  # the customer marked it as spam

    # Sent, with no bad news since.
    SUCCESSFUL = (Status.SENT, Status.DELIVERED, Status.OPENED)
    # Sent, but didn't reach the customer.
    RETURNED = (Status.BOUNCED, Status.REJECTED)

    # The order's, so that workers can serve merchants in turn.
    merchant = models.ForeignKey(Merchant, models.CASCADE, db_index=False, related_name="+", editable=False)
    order = models.ForeignKey(Order, models.CASCADE, db_index=False, related_name="deliveries")
    kind = models.CharField(max_length=10, choices=Kind)
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    codes = models.ManyToManyField(ActivationCode, through="DeliveredCode", related_name="deliveries")
    recipient = models.EmailField()
    # The same at every attempt, so that duplicates can be recognized. A mail provider may replace it.
    message_id = models.CharField("Message-ID", max_length=255, editable=False)
    sent_at = models.DateTimeField(null=True, blank=True, editable=False)
    requested_by = models.CharField(max_length=MAX_ACTOR, blank=True)

    objects = DeliveryQuerySet.as_manager()  # type: ignore[misc]

    class Meta:
        verbose_name_plural = "deliveries"
        indexes = [
            models.Index(
                F("merchant"),
                Least("attempts", 1).desc(),
                F("due_at"),
                condition=Q(due_at__isnull=False),
                name="delivery_in_turn",
            ),
            # With the id, so that an order's last e-mail is found without reading it.
            models.Index(fields=["order", "id"], name="delivery_in_order"),
            models.Index(
                fields=["merchant", "status", "order", "id"],
                condition=~Q(status__in=["queued", "sent"]),  # so payments don't write it
                name="delivery_by_status",
            ),
            models.Index(
                fields=["order"],
                condition=~Q(status__in=["sent", "delivered", "opened"]),
                name="delivery_not_well",
            ),
            # Those that may need a person, by age. Payments don't write it.
            models.Index(
                fields=["merchant", "created_at"],
                condition=Q(status__in=["failed", "canceled", "bounced", "rejected", "complained"]),
                name="delivery_lost",
            ),
            models.Index(fields=["message_id"], name="delivery_message_id"),
        ]

    def __str__(self):
        return gettext("{kind} delivery {pk} of {order}").format(
            kind=self.get_kind_display(), pk=self.pk, order=self.order
        )

    def _publish(self) -> None:
        has_account = MailAccount.objects.queue_for(self.merchant_id) == CALLOUTS
        nudge(self.merchant_id if has_account else ALL)

    def readdress(self) -> None:
        """Use the order's current address, and save it before sending."""
        if self.recipient != self.order.email:
            self._update(recipient=self.order.email)


class DeliveredCode(models.Model):
    delivery = models.ForeignKey(Delivery, models.CASCADE, db_index=False)
    code = models.ForeignKey(ActivationCode, models.CASCADE)
    automatic = models.BooleanField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["delivery", "code"], name="a_code_is_in_a_delivery_once"),
            models.UniqueConstraint(
                fields=["code"], condition=Q(automatic=True), name="a_code_is_delivered_automatically_once"
            ),
        ]

    def __str__(self):
        return gettext("{code} in {delivery}").format(code=self.code, delivery=self.delivery)
