"""E-mails requested without signing in: order links for customers, password resets for users."""

from django.db import models

from merchants.models import Merchant
from outbound.models.mail_accounts import MailAccount
from work.models import Retryable


class LinkRequest(Retryable):
    """A request for the links to a customer's orders; without a merchant, for a password reset.

    The e-mail goes only to a known address. The row is deleted after a day.
    """

    TASK = "delivery.tasks.send_links"

    merchant = models.ForeignKey(Merchant, models.CASCADE, null=True, related_name="link_requests")
    email = models.EmailField()
    language = models.CharField(max_length=10, help_text="One of settings.LANGUAGES.")
    source = models.BinaryField(help_text="Fingerprint of the requesting network.")

    class Meta(Retryable.Meta):
        indexes = [
            *Retryable.Meta.indexes,
            models.Index(fields=["email", "created_at"], name="link_request_address"),
            models.Index(fields=["source", "created_at"], name="link_request_source"),
            models.Index(fields=["created_at"], name="link_request_age"),
        ]

    def __str__(self):
        return f"Request {self.pk} for {f'links at {self.merchant}' if self.merchant else 'a new password'}"

    @property
    def queue(self) -> str:
        return MailAccount.objects.queue_for(self.merchant_id)
