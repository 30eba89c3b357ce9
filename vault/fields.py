from typing import Any

from django.core.exceptions import FieldError
from django.db import models

from vault.ciphers import decrypt, decrypt_bytes, encrypt, encrypt_bytes


class EncryptedTextField(models.TextField):
    """A text that stands encrypted in the database. To look for one, store its fingerprint beside it.

    Reading a row raises DecryptionError when VAULT_KEYS lacks the key: nobody is ever shown ciphertext.
    """

    description = "Encrypted text"

    def get_internal_type(self):
        return "BinaryField"

    def get_prep_value(self, value: Any) -> bytes | None:
        return None if value is None else encrypt(str(value))

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> str | None:
        return None if value is None else decrypt(bytes(value))

    def get_lookup(self, lookup_name):
        if lookup_name != "isnull":
            raise FieldError(f"{self.name} is encrypted and cannot be searched with {lookup_name!r}.")
        return super().get_lookup(lookup_name)

    def value_to_string(self, obj):
        raise TypeError(f"{self} is encrypted and is not exported as text; back up with pg_dump instead.")


class EncryptedBinaryField(models.BinaryField):
    """Bytes that stand encrypted in the database, for as long as somebody works on them.

    They are not re-encrypted when keys rotate.
    """

    description = "Encrypted bytes"

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return super().get_db_prep_value(None if value is None else encrypt_bytes(value), connection, prepared)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> bytes | None:
        return None if value is None else decrypt_bytes(bytes(value))
