"""Events that mail providers report about sent e-mails."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from delivery.models.deliveries import Delivery
from merchants.models import Merchant


class TrackingEvent(models.Model):
    """An event of one e-mail. It can arrive before its Message-ID is saved; then `delivery` is empty."""

    class Kind(models.TextChoices):
        DEFERRED = "deferred", _("Deferred")
        DELIVERED = "delivered", _("Delivered")
        OPENED = "opened", _("Opened")
        CLICKED = "clicked", _("Clicked")
        BOUNCED = "bounced", _("Bounced")
        REJECTED = "rejected", _("Rejected")
        COMPLAINED = "complained", _("Marked as spam")

    # The delivery status that each event leads to. Deferred e-mails are still on their way.
    STATUSES = {
        Kind.DELIVERED: Delivery.Status.DELIVERED,
        Kind.OPENED: Delivery.Status.OPENED,
        Kind.CLICKED: Delivery.Status.OPENED,
        Kind.BOUNCED: Delivery.Status.BOUNCED,
        Kind.REJECTED: Delivery.Status.REJECTED,
        Kind.COMPLAINED: Delivery.Status.COMPLAINED,
    }

    merchant = models.ForeignKey(
        Merchant,
        models.CASCADE,
        null=True,
        editable=False,
        help_text=_("The merchant whose provider reported it; empty for the installation’s."),
    )
    delivery = models.ForeignKey(Delivery, models.CASCADE, null=True, related_name="tracking_events", editable=False)
    message_id = models.CharField("Message-ID", max_length=255, editable=False, help_text=_("Without angle brackets."))
    kind = models.CharField(max_length=10, choices=Kind, editable=False)
    reason = models.CharField(max_length=500, blank=True, editable=False)
    occurred_at = models.DateTimeField(editable=False)
    received_at = models.DateTimeField(db_default=Now(), editable=False)
    fingerprint = models.BinaryField(unique=True, editable=False, help_text=_("Identifies repeated reports."))

    class Meta:
        indexes = [
            models.Index(fields=["received_at"], name="tracking_event_to_purge"),
            models.Index(fields=["message_id"], condition=models.Q(delivery=None), name="tracking_event_unmatched"),
        ]

    def __str__(self):
        return f"{self.get_kind_display()}: {self.delivery or gettext('unknown e-mail')}"
