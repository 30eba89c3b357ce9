import logging
import random
import uuid
from datetime import timedelta

from celery import current_app
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from merchants.models import MAX_ACTOR, Merchant, Product
from orders.models import ActivationCode, Order, OrderItem
from pools.models import LicensePool
from rest.valkey import valkey

logger = logging.getLogger(__name__)

# How long a worker has for one attempt. Longer than CELERY_TASK_TIME_LIMIT, or two would be at it.
LEASE = timedelta(seconds=60)


def publish(task: str, pk: int) -> None:
    """Ask a worker to look at a row. If the broker is gone, the sweep will ask again."""
    try:
        valkey().ping()  # Celery itself would be patient with a broker that is gone, and a shop waits
        current_app.send_task(task, [pk])
    except (RedisError, BrokerError) as error:
        logger.warning("The broker does not take %s(%s), the sweep will: %s", task, pk, error)


class RetryableQuerySet(models.QuerySet):
    def due(self):
        return self.filter(due_at__lte=Now())

    def claim(self, pk):
        """Take a due row for one attempt, or return None if it is not ours to take.

        The claim is a lease: it already schedules the next attempt, so a worker that dies leaves nothing to clean up.
        The conditional update looks only at the row's own columns: with a joined condition PostgreSQL does not look
        again after waiting for the lock, and two workers both claim.
        """
        claimed = self.due().filter(pk=pk).update(due_at=Now() + LEASE, attempts=F("attempts") + 1)
        return self.get(pk=pk) if claimed else None


class Retryable(models.Model):
    """A piece of work that is tried until it is done. The row is the queue; tasks are only nudges.

    All times are the database's: workers' clocks may differ.
    """

    TASK = ""  # the Celery task that makes one attempt, called with the row's key
    # Delays after the first, the second, ... attempt; the last one repeats.
    SCHEDULE = tuple(timedelta(seconds=seconds) for seconds in (5, 10, 20, 30, 60, 60, 120, 300, 600, 900))
    # From then on it has failed, and a person is told.
    MAX_ATTEMPTS = 300  # three days

    created_at = models.DateTimeField(db_default=Now(), editable=False)
    due_at = models.DateTimeField(null=True, db_default=Now(), editable=False)
    attempts = models.PositiveIntegerField(default=0, editable=False)
    ended_at = models.DateTimeField(null=True, editable=False, help_text="When nothing was left to try.")
    reason = models.CharField(max_length=500, blank=True, editable=False, help_text="Why it is not done yet.")

    objects = RetryableQuerySet.as_manager()

    class Meta:
        abstract = True
        indexes = [models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="%(class)s_due")]

    def end(self, **fields) -> bool:
        """Record how this attempt ended: nothing is due any more. False if it is another's by now."""
        return self._update(due_at=None, ended_at=Now(), **fields)

    def postpone(self, reason: str, *, at_least: timedelta = timedelta(0), **fields) -> bool:
        """Record why this attempt failed, and have the next one made when its time comes."""
        return self._update(due_at=Now() + max(self._delay(), at_least), reason=reason[:500], **fields)

    def nudge(self) -> None:
        """Have a worker look at the row as soon as it is committed. If the broker is gone, the sweep will."""
        transaction.on_commit(self._publish, robust=True)

    def _publish(self) -> None:
        publish(self.TASK, self.pk)

    @property
    def is_last_attempt(self) -> bool:
        return self.attempts >= self.MAX_ATTEMPTS

    def _update(self, **fields) -> bool:
        # The number of attempts tells whether the lease is still ours.
        changed = type(self)._default_manager.filter(pk=self.pk, attempts=self.attempts).update(**fields)
        for name, value in fields.items():
            setattr(self, name, value)
        return bool(changed)

    def _delay(self) -> timedelta:
        step = self.SCHEDULE[min(self.attempts, len(self.SCHEDULE)) - 1]
        return step * random.uniform(0.9, 1.1)  # noqa: S311 (jitter)


class FulfillmentMethod(models.Model):
    """One of the places a product's codes come from; what it lacks, the next in line is asked for."""

    class Source(models.TextChoices):
        POOL = "pool"
        MANUAL = "manual"

    product = models.ForeignKey(Product, models.CASCADE, related_name="fulfillment_methods")
    position = models.PositiveSmallIntegerField(default=1)
    source = models.CharField(max_length=20, choices=Source)
    pool = models.ForeignKey(LicensePool, models.PROTECT, null=True, blank=True, related_name="fulfillment_methods")

    class Meta:
        ordering = ["product", "position"]
        constraints = [
            models.UniqueConstraint(fields=["product", "position"], name="one_method_per_position"),
            models.CheckConstraint(
                condition=Q(source="pool", pool__isnull=False) | (~Q(source="pool") & Q(pool=None)),
                name="only_the_source_pool_has_a_pool",
                violation_error_message="A pool belongs to the source “pool”, and only to it.",
            ),
        ]

    def __str__(self):
        return f"{self.get_source_display()} “{self.pool}”" if self.pool else self.get_source_display()

    def clean(self):
        if self.pool and self.product_id and self.pool.merchant_id != self.product.merchant_id:
            raise ValidationError({"pool": f"The pool “{self.pool}” belongs to {self.pool.merchant}."})


class FulfillmentQuerySet(RetryableQuerySet):
    def unfinished(self):
        return self.exclude(status=Fulfillment.Status.DONE)

    def waiting_for(self, pool: LicensePool):
        """What waits for this pool's keys, oldest payment first."""
        return self.filter(
            status=Fulfillment.Status.WAITING,
            item__order__status=Order.Status.PAID,
            item__product__fulfillment_methods__pool=pool,
        ).order_by("item__order__paid_at", "item__order_id", "item_id")


class Fulfillment(Retryable):
    """The work of getting one order item its activation codes."""

    TASK = "fulfillment.tasks.fulfill"

    class Status(models.TextChoices):
        PENDING = "pending"
        WAITING = "waiting"
        DONE = "done"
        FAILED = "failed"

    item = models.OneToOneField(OrderItem, models.CASCADE, related_name="fulfillment")
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    done_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = FulfillmentQuerySet.as_manager()  # type: ignore[misc]

    class Meta(Retryable.Meta):
        indexes = [
            *Retryable.Meta.indexes,
            models.Index(fields=["item"], condition=Q(status="waiting"), name="fulfillment_waiting"),
            models.Index(fields=["status", "item"], condition=~Q(status="done"), name="fulfillment_unfinished"),
        ]

    def __str__(self):
        return f"Fulfillment of {self.item}"


class Delivery(Retryable):
    """One e-mail with activation codes of an order."""

    TASK = "fulfillment.tasks.deliver"

    class Kind(models.TextChoices):
        AUTOMATIC = "automatic"
        RESEND = "resend"

    class Status(models.TextChoices):
        QUEUED = "queued"
        SENT = "sent"
        FAILED = "failed"
        CANCELED = "canceled"  # the order was no longer paid, or delivery not allowed

    order = models.ForeignKey(Order, models.CASCADE, related_name="deliveries")
    kind = models.CharField(max_length=10, choices=Kind)
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    codes = models.ManyToManyField(ActivationCode, through="DeliveredCode", related_name="deliveries")
    recipient = models.EmailField()
    # Ours until the mail provider gives it another. The same at every attempt, so that a mail sent twice can be told.
    message_id = models.CharField("Message-ID", max_length=255, db_index=True, editable=False)
    sent_at = models.DateTimeField(null=True, blank=True, editable=False)
    requested_by = models.CharField(max_length=MAX_ACTOR, blank=True)

    class Meta(Retryable.Meta):
        verbose_name_plural = "deliveries"
        indexes = [
            *Retryable.Meta.indexes,
            models.Index(fields=["status", "order"], condition=~Q(status="sent"), name="delivery_not_sent"),
        ]

    def __str__(self):
        return f"{self.get_kind_display().capitalize()} delivery {self.pk} of {self.order}"

    def readdress(self) -> None:
        """Have this attempt go to the order's present address, and say so before it is made."""
        if self.recipient != self.order.email:
            self._update(recipient=self.order.email)

    @staticmethod
    def make_message_id() -> str:
        domain = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].rstrip(">")
        return f"<{uuid.uuid4()}@{domain}>"


class DeliveredCode(models.Model):
    delivery = models.ForeignKey(Delivery, models.CASCADE)
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
        return f"{self.code} in {self.delivery}"


class MerchantNotice(Retryable):
    """One e-mail that tells a merchant what needs a person."""

    TASK = "fulfillment.tasks.send_notice"

    class Kind(models.TextChoices):
        POOL_LOW = "pool_low", "pool running low"
        POOL_EMPTY = "pool_empty", "pool empty"
        CODE_WANTED = "code_wanted", "activation code wanted"
        ITEM_FAILED = "item_failed", "fulfillment failed"
        DELIVERY_FAILED = "delivery_failed", "delivery failed"

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="notices")
    kind = models.CharField(max_length=20, choices=Kind)
    pool = models.ForeignKey(LicensePool, models.CASCADE, null=True, blank=True)
    available = models.PositiveIntegerField(null=True, blank=True, help_text="Keys left in the pool.")
    item = models.ForeignKey(OrderItem, models.CASCADE, null=True, blank=True)
    delivery = models.ForeignKey(Delivery, models.CASCADE, null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta(Retryable.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["item", "kind"], condition=Q(item__isnull=False), name="one_notice_of_a_kind_per_item"
            )
        ]

    def __str__(self):
        return f"Notice to {self.merchant}: {self.get_kind_display()}"
