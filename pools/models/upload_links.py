from datetime import timedelta

from django.core.signing import BadSignature, Signer
from django.db import models
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now
from django.utils import timezone

from pools.models.stock import LicensePool

SIGNER = Signer(salt="pools.UploadLink", sep=".")
VALID_FOR = timedelta(days=14)


class UploadLinkQuerySet(models.QuerySet["UploadLink"]):
    def create_for(self, pool: LicensePool) -> "UploadLink":
        return self.create(pool=pool, expires_at=Now() + VALID_FOR)

    def with_token(self, token: str):
        try:
            return self.filter(pk=SIGNER.unsign(token))
        except BadSignature:
            return self.none()

    def alive(self):
        """Those that can be used: once a pool was filled through one of its links, that and the older ones end."""
        later = UploadLink.objects.filter(pool=OuterRef("pool"), used_at__gt=OuterRef("created_at"))
        return self.filter(~Exists(later), expires_at__gt=Now())

    def end(self) -> None:
        self.update(expires_at=Now())


class UploadLink(models.Model):
    """A permission, sent in a notice, to fill one pool once without signing in."""

    pool = models.ForeignKey(LicensePool, models.CASCADE, related_name="upload_links")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    objects = UploadLinkQuerySet.as_manager()

    def __str__(self):
        return f"Upload link {self.pk} of {self.pool}"

    @property
    def token(self) -> str:
        """The same whenever it is asked for: a notice that is sent again holds the same link."""
        return SIGNER.sign(str(self.pk))

    @property
    def has_expired(self) -> bool:
        return self.expires_at <= timezone.now()
