from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from merchants.models import MAX_ACTOR
from orders.models import OrderItem
from pools.models.stock import KeyBatch, LicensePool


class KeyMovement(models.Model):
    """One line of the ledger: keys that moved from one place to another.

    Database triggers on the keys write the ledger (migration 0002) and refuse to update or delete its rows. Importing
    or undoing a batch is one line for all of its keys; any other movement has one line per key. There are no foreign
    keys in the database, because lines must survive the rows they mention.
    """

    class Place(models.TextChoices):
        OUTSIDE = "", _("outside")
        AVAILABLE = "available", _("Available")
        RESERVED = "reserved", _("Reserved")
        ISSUED = "issued", _("Issued")
        WITHDRAWN = "withdrawn", _("Withdrawn")

    pool = models.ForeignKey(
        LicensePool, models.DO_NOTHING, related_name="movements", db_constraint=False, db_index=False
    )
    batch = models.ForeignKey(
        KeyBatch, models.DO_NOTHING, related_name="movements", db_constraint=False, db_index=False
    )
    key_id = models.BigIntegerField(null=True, help_text=_("Empty if all keys of the batch moved."))
    item = models.ForeignKey(
        OrderItem, models.DO_NOTHING, null=True, related_name="key_movements", db_constraint=False, db_index=False
    )
    unit = models.PositiveIntegerField(null=True)
    origin = models.CharField(max_length=9, choices=Place, blank=True)
    destination = models.CharField(max_length=9, choices=Place, blank=True)
    count = models.PositiveIntegerField()
    moved_at = models.DateTimeField(db_default=Now())
    moved_by = models.CharField(
        max_length=MAX_ACTOR, blank=True, help_text=_("Empty if an order was fulfilled automatically.")
    )

    class Meta:
        indexes = [
            models.Index(fields=["pool", "-moved_at", "-id"], name="movement_by_time"),
            models.Index(fields=["key_id"], condition=models.Q(key_id__isnull=False), name="movement_of_key"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(origin=models.F("destination")), name="a_movement_leads_somewhere_else"
            )
        ]

    def __str__(self):
        return ngettext(
            "{count} key moved from {origin} to {destination}",
            "{count} keys moved from {origin} to {destination}",
            self.count,
        ).format(count=self.count, origin=self.get_origin_display(), destination=self.get_destination_display())
