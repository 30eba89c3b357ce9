from django.db import models

from vault.fields import EncryptedTextField


class FingerprintKey(models.Model):
    """The installation's key for fingerprints, encrypted with VAULT_KEYS.

    Rotating VAULT_KEYS must not change fingerprints, because unique constraints depend on them.
    """

    singleton = models.BooleanField(default=True, editable=False, unique=True)
    key = EncryptedTextField(editable=False)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(singleton=True), name="there_is_one_fingerprint_key")]

    def __str__(self):
        return "Fingerprint key"
