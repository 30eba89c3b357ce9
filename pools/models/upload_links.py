from datetime import timedelta

from django.core.signing import BadSignature, Signer
from django.db import models
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext

from pools.models.stock import LicensePool

SIGNER = Signer(salt="pools.UploadLink", sep=".")
LINK_LIFETIME = timedelta(days=14)


class UploadLinkQuerySet(models.QuerySet["UploadLink"]):
    def create_for(self, pool: LicensePool) -> "UploadLink":
        return self.create(pool=pool, expires_at=Now() + LINK_LIFETIME)

    def with_token(self, token: str):
        try:
            return self.filter(pk=SIGNER.unsign(token))
        except BadSignature:
            return self.none()

    def active(self):
        """Links that can be used. Using one also ends the pool's older links."""
        later = UploadLink.objects.filter(pool=OuterRef("pool"), used_at__gt=OuterRef("created_at"))
        return self.filter(~Exists(later), expires_at__gt=Now())

    def end(self) -> None:
        self.update(expires_at=Now())


class UploadLink(models.Model):
    """A one-use link in a notice that adds keys to a pool without signing in."""

    pool = models.ForeignKey(LicensePool, models.CASCADE, related_name="upload_links")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    objects = UploadLinkQuerySet.as_manager()

    def __str__(self):
        return gettext("Upload link {pk} of {pool}").format(pk=self.pk, pool=self.pool)

    @property
    def token(self) -> str:
        """Always the same, so that a resent notice contains the same link."""
        return SIGNER.sign(str(self.pk))

    @property
    def has_expired(self) -> bool:
        return self.expires_at <= timezone.now()
