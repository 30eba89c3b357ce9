from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from licensing.models.catalog import NumberedEntity
from licensing.models.licensees import License, Licensee
from merchants.models import MAX_ACTOR
from merchants.numbers import MAX_NUMBER


class Transaction(NumberedEntity):
    LETTER = "T"

    class Status(models.TextChoices):
        PENDING = "PENDING", _("pending")
        CLOSED = "CLOSED", _("closed")
        CANCELED = "CANCELLED", _("canceled")  # the spelling of the wire format

    class Source(models.TextChoices):
        SHOP = "SHOP"
        AUTO_LICENSE_CREATE = "AUTO_LICENSE_CREATE"
        AUTO_LICENSEE_CREATE = "AUTO_LICENSEE_CREATE"
        AUTO_LICENSEE_VALIDATE = "AUTO_LICENSEE_VALIDATE"
        AUTO_LICENSES_TRANSFER = "AUTO_LICENSES_TRANSFER"

    licensee = models.ForeignKey(Licensee, models.SET_NULL, null=True, blank=True, related_name="transactions")
    source_licensee = models.ForeignKey(
        Licensee,
        models.SET_NULL,
        null=True,
        editable=False,
        related_name="transfers_away",
        help_text=_("Transfers only: where the licenses came from."),
    )
    status = models.CharField(max_length=10, choices=Status, default=Status.CLOSED)
    source = models.CharField(max_length=30, choices=Source, default=Source.SHOP)
    closed_at = models.DateTimeField(null=True, blank=True)
    made_by = models.CharField(max_length=MAX_ACTOR, blank=True, editable=False)

    class Meta(NumberedEntity.Meta):
        indexes = [models.Index(fields=["licensee", "-id"], name="licensing_transaction_of")]

    @classmethod
    def record(
        cls, licensee: Licensee, source: str, licenses: list[License], *, actor: str, **fields
    ) -> "Transaction":
        """Call this in the database transaction that changes the licenses."""
        created = cls.objects.create(
            merchant=licensee.merchant, licensee=licensee, source=source, closed_at=Now(), made_by=actor, **fields
        )
        LicenseTransactionJoin.objects.bulk_create(
            LicenseTransactionJoin(transaction=created, license=license, number=license.number) for license in licenses
        )
        return created


class LicenseTransactionJoin(models.Model):
    transaction = models.ForeignKey(Transaction, models.CASCADE, related_name="joins")
    license = models.ForeignKey(License, models.SET_NULL, null=True, related_name="joins")
    number = models.CharField(max_length=MAX_NUMBER, help_text=_("License number. The license may be deleted."))

    class Meta:
        ordering = ["pk"]

    def __str__(self):
        return gettext("{number} in {transaction}").format(number=self.number, transaction=self.transaction)
