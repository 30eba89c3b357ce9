from django.db import models

from vault.fields import EncryptedTextField


class FingerprintKey(models.Model):
    """The one key behind all fingerprints, itself kept under VAULT_KEYS.

    Those rotate; fingerprints, with the unique constraints that stand on them, must not change when they do.
    """

    singleton = models.BooleanField(default=True, editable=False, unique=True)
    key = EncryptedTextField(editable=False)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(singleton=True), name="there_is_one_fingerprint_key")]

    def __str__(self):
        return "Fingerprint key"
