"""E-mails with activation codes."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from merchants.models import MAX_ACTOR
from orders.models import ActivationCode, Order
from outbound.models.mail_accounts import MailAccount
from work.models import Retryable


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

    order = models.ForeignKey(Order, models.CASCADE, related_name="deliveries")
    kind = models.CharField(max_length=10, choices=Kind)
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    codes = models.ManyToManyField(ActivationCode, through="DeliveredCode", related_name="deliveries")
    recipient = models.EmailField()
    # The same at every attempt, so that duplicates can be recognized. A mail provider may replace it.
    message_id = models.CharField("Message-ID", max_length=255, db_index=True, editable=False)
    sent_at = models.DateTimeField(null=True, blank=True, editable=False)
    requested_by = models.CharField(max_length=MAX_ACTOR, blank=True)

    class Meta(Retryable.Meta):
        verbose_name_plural = "deliveries"
        indexes = [
            *Retryable.Meta.indexes,
            models.Index(
                fields=["status", "order"],
                condition=~Q(status__in=["sent", "delivered", "opened"]),
                name="delivery_not_well",
            ),
        ]

    def __str__(self):
        return gettext("{kind} delivery {pk} of {order}").format(
            kind=self.get_kind_display(), pk=self.pk, order=self.order
        )

    @property
    def queue(self) -> str:
        return MailAccount.objects.queue_for(self.order.merchant_id)

    def readdress(self) -> None:
        """Use the order's current address, and save it before sending."""
        if self.recipient != self.order.email:
            self._update(recipient=self.order.email)


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
        return gettext("{code} in {delivery}").format(code=self.code, delivery=self.delivery)
