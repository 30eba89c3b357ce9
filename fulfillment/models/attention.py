"""What people dealt with, of what needs a person."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from merchants.models import MAX_ACTOR, Merchant
from orders.models import Order


class DealtWith(models.Model):
    """A person dealt with one occurrence of a trouble, so it no longer needs attention.

    If it happens again, `occurred_at` differs, and it needs attention again. Holds nothing about the customer.
    """

    class Trouble(models.TextChoices):
        ITEM = "item", _("codes are missing")
        # The statuses of deliveries.
        FAILED = "failed", _("the e-mail wasn’t sent")
        BOUNCED = "bounced", _("the e-mail bounced")
        REJECTED = "rejected", _("the e-mail was rejected")
        COMPLAINED = "complained", _("the e-mail was marked as spam")
        CANCELED = "canceled", _("the e-mail was held back")
        QUEUED = "queued", _("the e-mail is late")
        UNMAPPED = "unmapped", _("an item isn’t mapped")
        HELD = "held", _("the order is being checked")
        # Those that don't belong to an order.
        EVENT = "event", _("an event of a shop can’t be used")
        REJECTING = "rejecting", _("a shop’s requests are rejected")
        SERVER = "server", _("a server is paused")
        MAIL_SERVER = "mailserver", _("the mail server rejects the login")
        API_KEY = "api_key", _("an API key expires")

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="+")
    trouble = models.CharField(max_length=10, choices=Trouble)
    subject = models.BigIntegerField(help_text=_("The primary key of the row that has the trouble."))
    occurred_at = models.DateTimeField()
    order = models.ForeignKey(Order, models.CASCADE, null=True, related_name="+")
    dealt_at = models.DateTimeField(db_default=Now(), editable=False)
    dealt_by = models.CharField(max_length=MAX_ACTOR)

    class Meta:
        verbose_name_plural = _("dealt with")
        constraints = [
            models.UniqueConstraint(
                fields=["trouble", "subject", "occurred_at"], name="an_occurrence_is_dealt_with_once"
            )
        ]
        indexes = [models.Index(fields=["dealt_at"], condition=Q(order=None), name="dealt_with_to_purge")]

    def __str__(self):
        return f"{self.get_trouble_display()} ({self.subject})"
