from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from pools.models.stock import LicensePool


class UploadLink(models.Model):
    """A permission, sent in a notice, to fill one pool once without signing in."""

    pool = models.ForeignKey(LicensePool, models.PROTECT, related_name="upload_links")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    def __str__(self):
        return f"Upload link {self.pk} of {self.pool}"

    @property
    def has_expired(self) -> bool:
        return self.expires_at <= timezone.now()
