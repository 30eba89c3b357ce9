"""Who uses a license now, of those that are used by so many at a time."""

from django.db import models

from licensing.models.catalog import ProductModule
from licensing.models.licensees import Licensee


class FloatingSession(models.Model):
    """A session that is checked out, until it is checked in or expires. It ends when its licenses are transferred."""

    licensee = models.ForeignKey(Licensee, models.CASCADE, related_name="sessions")
    module = models.ForeignKey(ProductModule, models.CASCADE, related_name="sessions")
    # Of its id, which is as long as the vendor's software likes, and may be somebody's name.
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
        return f"Session of {self.licensee} until {self.expires_at}"
