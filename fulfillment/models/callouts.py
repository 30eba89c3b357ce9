"""What was asked of addresses that merchants typed in, and what they answered."""

from django.db import models
from django.db.models.functions import Now

from fulfillment.models.webhooks import WebhookMessage
from merchants.models import Merchant


class Callout(models.Model):
    """One HTTP request to a merchant's address. Without milliseconds it is under way, or its process died.

    No secret and no activation code stands here: whoever makes the request says what of it may be kept.
    """

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="callouts")
    message = models.ForeignKey(WebhookMessage, models.SET_NULL, null=True, related_name="callouts")
    called_at = models.DateTimeField(db_default=Now(), editable=False)
    method = models.CharField(max_length=10)
    url = models.CharField(max_length=2000, help_text="Without its query.")
    attempt = models.PositiveIntegerField(default=1)
    sent = models.TextField(blank=True)
    status_code = models.PositiveSmallIntegerField(null=True)
    answer = models.TextField(blank=True, help_text="The beginning of it.")
    milliseconds = models.PositiveIntegerField(null=True)
    error = models.CharField(max_length=500, blank=True, help_text="Why there is no answer.")

    class Meta:
        indexes = [models.Index(fields=["called_at"], name="callout_by_time")]

    def __str__(self):
        return f"{self.method} {self.url}"
