"""What mail providers tell of e-mails that were sent."""

from django.db import models
from django.db.models.functions import Now

from delivery.models.deliveries import Delivery
from merchants.models import Merchant


class TrackingEvent(models.Model):
    """One thing that a provider told of one e-mail, perhaps before we know under which Message-ID it was sent."""

    class Kind(models.TextChoices):
        DEFERRED = "deferred"
        DELIVERED = "delivered"
        OPENED = "opened"
        CLICKED = "clicked"
        BOUNCED = "bounced"
        REJECTED = "rejected"
        COMPLAINED = "complained"

    # What each does to the delivery; one that is deferred is on its way still.
    STATUSES = {
        Kind.DELIVERED: Delivery.Status.DELIVERED,
        Kind.OPENED: Delivery.Status.OPENED,
        Kind.CLICKED: Delivery.Status.OPENED,
        Kind.BOUNCED: Delivery.Status.BOUNCED,
        Kind.REJECTED: Delivery.Status.REJECTED,
        Kind.COMPLAINED: Delivery.Status.COMPLAINED,
    }

    merchant = models.ForeignKey(
        Merchant, models.CASCADE, null=True, editable=False, help_text="Whose provider told it; none: ours."
    )
    delivery = models.ForeignKey(Delivery, models.CASCADE, null=True, related_name="tracking_events", editable=False)
    message_id = models.CharField("Message-ID", max_length=255, editable=False, help_text="Without angle brackets.")
    kind = models.CharField(max_length=10, choices=Kind, editable=False)
    reason = models.CharField(max_length=500, blank=True, editable=False)
    occurred_at = models.DateTimeField(editable=False)
    received_at = models.DateTimeField(db_default=Now(), editable=False)
    fingerprint = models.BinaryField(unique=True, editable=False, help_text="Of what was told: told again it is one.")

    class Meta:
        indexes = [
            models.Index(fields=["message_id"], condition=models.Q(delivery=None), name="tracking_event_unmatched"),
        ]

    def __str__(self):
        return f"{self.get_kind_display()}: {self.delivery or 'an e-mail that is not known'}"
