from base64 import b64encode
from datetime import datetime, timedelta
from secrets import token_bytes

from django.db import models
from django.utils import timezone

from vault.fields import EncryptedTextField

# How long requests are also signed with the previous secret.
ROTATION_PERIOD = timedelta(hours=24)


class Signed(models.Model):
    """A receiver of signed requests, with the secrets that it verifies them with."""

    secret = EncryptedTextField(bound_to=("merchant_id",), editable=False)
    previous_secret = EncryptedTextField(bound_to=("merchant_id",), null=True, editable=False)
    rotated_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        abstract = True

    @property
    def previous_secret_until(self) -> datetime | None:
        """When the previous secret expires. None if there is none."""
        until = self.rotated_at + ROTATION_PERIOD if self.rotated_at else None
        return until if until and until > timezone.now() and self.previous_secret else None

    def live_secrets(self) -> list[str]:
        """The secrets that requests are signed with now."""
        previous = self.previous_secret if self.previous_secret_until else None
        return [self.secret, previous] if previous else [self.secret]

    def rotate(self) -> None:
        self.previous_secret, self.secret, self.rotated_at = self.secret, self.make_secret(), timezone.now()
        self.save(update_fields=["previous_secret", "secret", "rotated_at"])

    @staticmethod
    def make_secret() -> str:
        return f"whsec_{b64encode(token_bytes(32)).decode()}"
