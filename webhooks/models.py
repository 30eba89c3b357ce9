"""Webhooks: events sent to a merchant's shop over HTTP, following the Standard Webhooks specification."""

import uuid
from urllib.parse import urlsplit

from django.contrib.postgres.fields import ArrayField
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from merchants.models import Merchant
from outbound.models import Signed
from work import request_ids
from work.models import CALLOUTS, Retryable

# The event of a test message.
TEST_EVENT = "webhook.test"


class WebhookEvent(models.TextChoices):
    ORDER_PAID = "order.paid", _("an order was paid")
    PRODUCT_DELIVERED = "product.delivered", _("an e-mail with a product’s activation codes was sent")
    PRODUCT_RETURNED = "product.returned", _("an order was refunded in full")
    ORDER_REINSTATED = "order.reinstated", _("the full refund of an order was undone")
    DELIVERY_BOUNCED = "delivery.bounced", _("an e-mail didn’t reach the customer")
    POOL_LOW = "pool.low", _("a pool is running low")
    POOL_EMPTY = "pool.empty", _("a pool is empty")


class WebhookEndpointQuerySet(models.QuerySet["WebhookEndpoint"]):
    def kept(self):
        return self.filter(removed_at=None)


class WebhookEndpoint(Signed):
    """A URL of the merchant's shop, subscribed to some events."""

    class State(models.TextChoices):
        ENABLED = "enabled", _("Enabled")
        FAILING = "failing", _("Failing")
        STOPPED = "stopped", _("Stopped")  # by Keywell
        DISABLED = "disabled", _("Disabled")  # by a person

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="webhook_endpoints")
    url = models.CharField("URL", max_length=1000)
    description = models.CharField(max_length=200, blank=True)
    events = ArrayField(models.CharField(max_length=30, choices=WebhookEvent))
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    failing_since = models.DateTimeField(null=True, editable=False, help_text=_("When all requests began to fail."))
    disabled_at = models.DateTimeField(null=True, editable=False)
    disabled_reason = models.CharField(
        max_length=500, blank=True, editable=False, help_text=_("Empty if a person disabled it.")
    )
    removed_at = models.DateTimeField(null=True, editable=False, help_text=_("Its rows are deleted later."))

    objects = WebhookEndpointQuerySet.as_manager()

    def __str__(self):
        return self.description or urlsplit(self.url).netloc

    def get_absolute_url(self) -> str:
        return reverse("webhook", args=[self.pk])

    @property
    def state(self) -> State:
        if self.disabled_at:
            return self.State.STOPPED if self.disabled_reason else self.State.DISABLED
        return self.State.FAILING if self.failing_since else self.State.ENABLED


class WebhookMessage(Retryable):
    """One event for one endpoint."""

    TASK = "webhooks.tasks.send_webhook"
    queue = CALLOUTS

    class Status(models.TextChoices):
        QUEUED = "queued", _("Queued")
        DELIVERED = "delivered", _("Delivered")
        FAILED = "failed", _("Failed")

    endpoint = models.ForeignKey(WebhookEndpoint, models.CASCADE, related_name="messages")
    event = models.CharField(max_length=30)
    # The same for every attempt and endpoint, so that receivers can recognize duplicates.
    event_id = models.CharField(max_length=40, editable=False)
    data = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    shop_request_id = models.CharField(
        max_length=request_ids.MAX_LENGTH,
        blank=True,
        default=request_ids.current_request_id,
        db_default="",
        editable=False,
        help_text=_("The id of the request that caused it."),
    )

    class Meta(Retryable.Meta):
        constraints = [models.UniqueConstraint(fields=["endpoint", "event_id"], name="an_endpoint_gets_an_event_once")]
        indexes = [
            *Retryable.Meta.indexes,
            models.Index(fields=["endpoint", "-created_at", "-id"], name="webhook_message_log"),
            models.Index(
                fields=["endpoint", "due_at"], condition=Q(due_at__isnull=False), name="webhook_message_next"
            ),
            models.Index(fields=["created_at"], name="webhook_message_by_time"),
        ]

    def __str__(self):
        return f"{self.event} ({self.event_id})"

    @property
    def request_id(self) -> str:
        """Identifies its outgoing requests. The event ID isn't unique, because several endpoints may get the event."""
        return gettext("webhook message {pk}").format(pk=self.pk)

    @staticmethod
    def make_event_id() -> str:
        return f"evt_{uuid.uuid4().hex}"
