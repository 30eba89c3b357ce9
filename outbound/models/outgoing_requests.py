from collections.abc import Iterable

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from merchants.models import Merchant
from orders.models import Order, OrderItem
from outbound.models.upstreams import Upstream


class OutgoingRequestQuerySet(models.QuerySet["OutgoingRequest"]):
    def for_orders(self, orders: Iterable[Order | int]):
        """Those for these orders that still have content."""
        return self.filter(item__order__in=orders).exclude(sent="", answer="")

    def forget(self) -> int:
        """Erase the content of requests and answers, but keep the rows."""
        return self.update(sent="", answer="")


class OutgoingRequest(models.Model):
    """One HTTP request to a merchant's address. Without `milliseconds` it is in progress, or its process died.

    It holds no secrets and no activation codes: the caller masks the request and the answer.
    """

    class Outcome(models.TextChoices):
        OK = "ok", _("OK")
        TEMPORARY = "temporary", _("Temporary error")  # will be retried
        FATAL = "fatal", _("Permanent error")

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="outgoing_requests")
    upstream = models.ForeignKey(
        Upstream,
        models.SET_NULL,
        null=True,
        related_name="outgoing_requests",
        help_text=_("Empty for a webhook endpoint."),
    )
    item = models.ForeignKey(OrderItem, models.CASCADE, null=True, related_name="outgoing_requests")
    unit = models.PositiveIntegerField(null=True, help_text=_("For a request about one unit."))
    is_test = models.BooleanField(default=False)
    request_id = models.CharField(max_length=40, blank=True, help_text=_("The same at every attempt."))
    called_at = models.DateTimeField(db_default=Now(), editable=False)
    method = models.CharField(max_length=10)
    url = models.CharField("URL", max_length=2000, help_text=_("Without the query and secrets."))
    attempt = models.PositiveIntegerField(default=1)
    sent = models.TextField(blank=True)
    status_code = models.PositiveSmallIntegerField(null=True)
    answer = models.TextField(blank=True, help_text=_("Beginning of the answer."))
    milliseconds = models.PositiveIntegerField(null=True)
    outcome = models.CharField(max_length=10, choices=Outcome, blank=True)
    error = models.CharField(max_length=500, blank=True, help_text=_("Why there is no answer, or why it has no code."))

    objects = OutgoingRequestQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["called_at"], name="outgoing_by_time"),
            models.Index(fields=["upstream", "-called_at", "-id"], name="outgoing_of_upstream"),
            # Filters of an upstream's log.
            models.Index(
                fields=["upstream", "-called_at", "-id"],
                condition=Q(outcome__in=["temporary", "fatal"]),
                name="outgoing_failed",
            ),
            models.Index(fields=["upstream", "-called_at", "-id"], condition=Q(is_test=True), name="outgoing_test"),
            # The attempts to send a webhook message.
            models.Index(fields=["request_id", "-id"], condition=Q(upstream=None), name="outgoing_without_upstream"),
        ]

    def __str__(self):
        return f"{self.method} {self.url}"
