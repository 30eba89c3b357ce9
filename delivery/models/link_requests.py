"""E-mails requested without signing in: order links for customers, password resets for users."""

from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

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
    language = models.CharField(max_length=10, help_text=_("One of settings.LANGUAGES."))
    source = models.BinaryField(help_text=_("Fingerprint of the requesting network."))

    class Meta(Retryable.Meta):
        indexes = [
            *Retryable.Meta.indexes,
            models.Index(fields=["email", "created_at"], name="link_request_address"),
            models.Index(fields=["source", "created_at"], name="link_request_source"),
            models.Index(fields=["created_at"], name="link_request_age"),
        ]

    def __str__(self):
        if self.merchant:
            return gettext("Request {pk} for links at {merchant}").format(pk=self.pk, merchant=self.merchant)
        return gettext("Request {pk} for a new password").format(pk=self.pk)

    @property
    def queue(self) -> str:
        return MailAccount.objects.queue_for(self.merchant_id)
