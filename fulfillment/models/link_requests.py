"""Customers who ask for the links to their orders."""

from django.db import models

from fulfillment.models.retryable import Retryable
from merchants.models import Merchant


class LinkRequest(Retryable):
    """Somebody asks that a customer of this address, if there is one, be mailed the links to their orders.

    It is forgotten after a day.
    """

    TASK = "fulfillment.tasks.send_links"

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="link_requests")
    email = models.EmailField()
    language = models.CharField(max_length=10, help_text="Of settings.LANGUAGES.")
    source = models.BinaryField(help_text="The fingerprint of the network that it came from.")

    class Meta(Retryable.Meta):
        indexes = [
            *Retryable.Meta.indexes,
            models.Index(fields=["email", "created_at"], name="link_request_address"),
            models.Index(fields=["source", "created_at"], name="link_request_source"),
            models.Index(fields=["created_at"], name="link_request_age"),
        ]

    def __str__(self):
        return f"Request {self.pk} for links at {self.merchant}"
