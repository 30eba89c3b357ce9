from typing import Any

from django.db import models
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from licensing.models.catalog import (
    Entity,
    LicenseTemplate,
    LicensingProduct,
    NumberedEntity,
    ProductModule,
    Terms,
    new_number,
)
from merchants.models import MAX_ACTOR, Merchant
from merchants.numbers import MAX_NUMBER
from vault.fields import EncryptedTextField
from vault.fingerprints import fingerprint

# A number wins over an alias, in case two concurrent requests created both.
# Raw SQL because every validation runs it, and the ORM takes as long to build the query as the database to answer it.
FIND = """
    SELECT licensee.* FROM licensing_licensee licensee
        WHERE licensee.merchant_id = %(merchant)s AND licensee.fingerprint = %(fingerprint)s
    UNION ALL
    SELECT licensee.* FROM licensing_licenseealias alias
        JOIN licensing_licensee licensee ON licensee.id = alias.licensee_id
        WHERE alias.merchant_id = %(merchant)s AND alias.fingerprint = %(fingerprint)s
    LIMIT 1
"""


def hint(number: str) -> str:
    """Return the last four characters, for display; nothing for short numbers, which they would give away."""
    return number[-4:] if len(number) >= 12 else ""


class LicenseeQuerySet(models.QuerySet["Licensee"]):
    def with_number(self, number: str):
        """Licensees with this number or alias; at most one per vendor."""
        known = fingerprint(number)
        numbers = Licensee.objects.filter(fingerprint=known).order_by().values("pk")
        aliases = LicenseeAlias.objects.filter(fingerprint=known).order_by().values("licensee")
        # A union, because an OR would scan all licensees of the vendor.
        return self.filter(pk__in=numbers.union(aliases))

    def find(self, merchant_id: int, number: str) -> "Licensee | None":
        known = fingerprint(number)
        return next(iter(self.raw(FIND, {"merchant": merchant_id, "fingerprint": known})), None)


class Licensee(Entity):
    """A customer's installation or account for one product.

    If it is marked for transfer, its number is enough to claim its licenses. So numbers are encrypted, like
    activation codes.
    """

    LETTER = "I"

    product = models.ForeignKey(LicensingProduct, models.CASCADE, related_name="licensees")
    number = EncryptedTextField(bound_to=("merchant_id", "fingerprint"))
    fingerprint = models.BinaryField(editable=False)
    hint = models.CharField(max_length=4, blank=True, editable=False)
    name = models.CharField(max_length=200, blank=True)
    marked_for_transfer = models.BooleanField(default=False)

    objects = LicenseeQuerySet.as_manager()

    class Meta(Entity.Meta):
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["fingerprint", "merchant"], name="licensing_licensee_number_is_unique")
        ]

    def __str__(self):
        return self.name or gettext("Licensee {pk}").format(pk=self.pk)

    def get_absolute_url(self) -> str:
        return reverse("licensee", args=[self.pk])

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.number = self.number or new_number(self.LETTER)
        self.fingerprint, self.hint = fingerprint(self.number), hint(self.number)
        super().save(*args, **kwargs)


class LicenseeAlias(models.Model):
    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="+")
    licensee = models.ForeignKey(Licensee, models.CASCADE, related_name="aliases")
    text = EncryptedTextField(bound_to=("licensee_id", "fingerprint"))
    fingerprint = models.BinaryField(editable=False)

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["fingerprint", "merchant"], name="licensing_alias_is_unique")]

    def __str__(self):
        return gettext("Alias of {licensee}").format(licensee=self.licensee)

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.fingerprint = fingerprint(self.text)
        super().save(*args, **kwargs)

    @property
    def hint(self) -> str:
        return hint(self.text)


class License(Terms, NumberedEntity):
    LETTER = "L"

    licensee = models.ForeignKey(Licensee, models.CASCADE, related_name="licenses")
    template = models.ForeignKey(LicenseTemplate, models.CASCADE, related_name="licenses")
    name = models.CharField(max_length=200)
    start_date = models.DateTimeField(null=True, blank=True)
    moved_at = models.DateTimeField(null=True, editable=False, help_text=_("Time of the last transfer."))
    used_quantity = models.BigIntegerField(default=0)
    parent_feature = models.CharField(
        max_length=MAX_NUMBER, blank=True, help_text=_("Rental only: the feature that a time volume extends.")
    )

    class Meta(NumberedEntity.Meta):
        constraints = [*NumberedEntity.Meta.constraints, *Terms.Meta.constraints]


class FloatingSession(models.Model):
    """A checked-out session. It ends at check-in, when it expires, or when the licenses are transferred."""

    licensee = models.ForeignKey(Licensee, models.CASCADE, related_name="sessions")
    module = models.ForeignKey(ProductModule, models.CASCADE, related_name="sessions")
    # Of the session id, which can have any length and may contain personal data.
    fingerprint = models.BinaryField(editable=False)
    expires_at = models.DateTimeField()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["licensee", "module", "fingerprint"], name="licensing_session_is_checked_out_once"
            )
        ]

    def __str__(self):
        return gettext("Session of {licensee} until {expires_at}").format(
            licensee=self.licensee, expires_at=self.expires_at
        )


class LicenseeEvent(models.Model):
    """A person's action on a licensee or its licenses that no other row records."""

    class Kind(models.TextChoices):
        REVEALED = "reveal", _("number shown")
        RENAMED = "renamed", _("name changed")
        MARKED = "marked", _("marked for transfer")
        UNMARKED = "unmarked", _("mark removed")
        ACTIVATED = "activated", _("activated")
        DEACTIVATED = "deactivated", _("deactivated")
        LICENSE_CHANGED = "license_changed", _("license changed")
        LICENSE_ACTIVATED = "license_on", _("license activated")
        LICENSE_DEACTIVATED = "license_off", _("license deactivated")

    licensee = models.ForeignKey(Licensee, models.CASCADE, related_name="events")
    kind = models.CharField(max_length=20, choices=Kind)
    note = models.CharField(max_length=300, blank=True, help_text=_("The license number, for actions on a license."))
    happened_at = models.DateTimeField(db_default=Now(), editable=False)
    happened_by = models.CharField(max_length=MAX_ACTOR)

    class Meta:
        ordering = ["pk"]

    def __str__(self):
        return f"{self.licensee}: {self.get_kind_display()}"


MAX_REASON = 300


class FailedValidation(models.Model):
    """The last failed validation of each module of a licensee, and the last refused request (without a module)."""

    licensee = models.ForeignKey(Licensee, models.CASCADE, related_name="failures")
    module_number = models.CharField(max_length=MAX_NUMBER, blank=True)
    module_name = models.CharField(max_length=200, blank=True)
    licensing_model = models.CharField(max_length=20, blank=True)
    reason = models.CharField(max_length=MAX_REASON)
    failed_at = models.DateTimeField()
    asked_by = models.CharField(max_length=MAX_ACTOR)

    class Meta:
        ordering = ["-failed_at", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["licensee", "module_number"], name="licensing_one_failure_for_each_module")
        ]

    def __str__(self):
        return f"{self.module_name or 'Request'}: {self.reason}"
