from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinLengthValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from merchants.models import MAX_ACTOR, Merchant, Product, User
from pools.models import LicensePool, Part
from vault.fields import EncryptedBinaryField


class SetupRequest(models.Model):
    """A merchant's request that support staff set up automatic sending for some products.

    The license file is stored encrypted, in `parts`, until the request is closed.
    """

    class Status(models.TextChoices):
        OPEN = "open", _("Open")
        APPLIED = "applied", _("Applied")
        ANSWERED = "answered", _("Answered")
        WITHDRAWN = "withdrawn", _("Withdrawn")

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="setup_requests")
    status = models.CharField(max_length=10, choices=Status, default=Status.OPEN)
    products = models.JSONField(help_text=_("List of {sku, name}."))
    pool_name = models.CharField(max_length=200, validators=[MinLengthValidator(1)])
    quantity_rule = models.CharField(
        max_length=4, choices=Product.QuantityRule, default=Product.QuantityRule.ONE_PER_UNIT
    )
    threshold = models.PositiveIntegerField(default=10)
    recipients = ArrayField(models.EmailField(), default=list, blank=True)
    comment = models.TextField(max_length=4000, blank=True)
    file_name = models.CharField(max_length=255, blank=True)
    preview = models.JSONField(default=dict, help_text=_("Result of setup.preview_file, without keys."))
    asked_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    pool = models.ForeignKey(
        LicensePool, models.SET_NULL, null=True, related_name="+", help_text=_("Set when the request is applied.")
    )

    class Meta:
        indexes = [
            models.Index(fields=["merchant", "-created_at"], name="setup_request_of_merchant"),
            models.Index(fields=["created_at"], condition=Q(status="open"), name="setup_request_open"),
        ]

    def __str__(self):
        return gettext("Request {pk} of {merchant}: {pool_name}").format(
            pk=self.pk, merchant=self.merchant, pool_name=self.pool_name
        )

    def get_absolute_url(self) -> str:
        return reverse("setup")


class SetupRequestPart(Part):
    """A part of the license file or text of a request."""

    request = models.ForeignKey(SetupRequest, models.CASCADE, related_name="parts")
    content = EncryptedBinaryField(bound_to=("request_id", "number"))

    class Meta:
        constraints = [models.UniqueConstraint(fields=["request", "number"], name="one_setup_part_of_a_number")]

    def __str__(self):
        return gettext("Part {number} of {request}").format(number=self.number, request=self.request)


class SetupEvent(models.Model):
    class Kind(models.TextChoices):
        ASKED = "asked", _("Requested")
        APPLIED = "applied", _("Applied")
        ANSWERED = "answered", _("Answered")
        WITHDRAWN = "withdrawn", _("Withdrawn")

    request = models.ForeignKey(SetupRequest, models.CASCADE, related_name="events")
    kind = models.CharField(max_length=10, choices=Kind)
    text = models.TextField(max_length=4000, blank=True)
    happened_at = models.DateTimeField(db_default=Now(), editable=False)
    happened_by = models.CharField(max_length=MAX_ACTOR)

    class Meta:
        ordering = ["pk"]

    def __str__(self):
        return f"{self.request}: {self.get_kind_display()}"
