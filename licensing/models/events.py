"""What people did to licensees, as their pages tell it."""

from django.db import models
from django.db.models.functions import Now

from licensing.models.licensees import Licensee
from merchants.models import MAX_ACTOR


class LicenseeEvent(models.Model):
    """What a person did to a licensee or its licenses, and no other row tells."""

    class Kind(models.TextChoices):
        REVEALED = "reveal", "number shown"
        RENAMED = "renamed", "name changed"
        MARKED = "marked", "marked for transfer"
        UNMARKED = "unmarked", "mark removed"
        ACTIVATED = "activated", "activated"
        DEACTIVATED = "deactivated", "deactivated"
        LICENSE_CHANGED = "license_changed", "license changed"
        LICENSE_ACTIVATED = "license_on", "license activated"
        LICENSE_DEACTIVATED = "license_off", "license deactivated"

    licensee = models.ForeignKey(Licensee, models.CASCADE, related_name="events")
    kind = models.CharField(max_length=20, choices=Kind)
    note = models.CharField(max_length=300, blank=True, help_text="Which license it was about.")
    happened_at = models.DateTimeField(db_default=Now(), editable=False)
    happened_by = models.CharField(max_length=MAX_ACTOR)

    class Meta:
        ordering = ["pk"]

    def __str__(self):
        return f"{self.licensee}: {self.get_kind_display()}"
