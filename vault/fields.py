"""Columns that stand encrypted in the database, each value bound to its row (docs/decisions/0015)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import FieldError
from django.db import models
from django.db.models.query_utils import DeferredAttribute

from vault.ciphers import decrypt, decrypt_bytes, encrypt, encrypt_bytes


@dataclass(frozen=True)
class Sealed:
    """A ciphertext as it is stored. Only the row that it belongs to can open it."""

    ciphertext: bytes = field(repr=False)


class Opened(DeferredAttribute):
    """Decrypts when the attribute is first read: only then is the rest of the row at hand.

    Raises DecryptionError when VAULT_KEYS lacks the key, or the ciphertext is another row's.
    """

    field: "EncryptedField"

    def __get__(self, instance: Any, cls: Any = None) -> Any:
        value = super().__get__(instance, cls)
        if isinstance(value, Sealed):
            place = self.field.place(getattr(instance, name) for name in self.field.bound_to)
            value = instance.__dict__[self.field.attname] = self.field.open(value.ciphertext, place)
        return value

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.field.attname] = value


class EncryptedField(models.Field):
    """`bound_to` names the attributes that say whose a value is.

    They are set before the value is saved, and none of them changes without it.
    """

    descriptor_class = Opened

    def __init__(self, *args: Any, bound_to: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # It is no part of migrations: nothing in the database depends on it.
        self.bound_to = bound_to

    def open(self, ciphertext: bytes, place: bytes) -> Any:
        raise NotImplementedError

    def seal(self, value: Any, place: bytes) -> bytes:
        raise NotImplementedError

    def place(self, owner: Iterable[Any]) -> bytes:
        """Table, column and owner: numbers, then perhaps one digest. No two places are written the same way."""
        name = f"{self.model._meta.db_table}.{self.column}"
        return b"\0".join([name.encode(), *map(_part, owner)])

    def pre_save(self, model_instance: Any, add: bool) -> Any:
        value = model_instance.__dict__[self.attname]
        if value is None or isinstance(value, Sealed):
            return value
        return Sealed(self.seal(value, self.place(getattr(model_instance, name) for name in self.bound_to)))

    def get_prep_value(self, value: Any) -> Any:
        if value is None or isinstance(value, Sealed):
            return value
        raise TypeError(f"{self} is encrypted for its row: set it on an instance and save that.")

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> bytes | None:
        value = value if prepared else self.get_prep_value(value)
        return None if value is None else value.ciphertext

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Sealed | None:
        return None if value is None else Sealed(bytes(value))

    def get_lookup(self, lookup_name):
        if lookup_name != "isnull":
            raise FieldError(f"{self.name} is encrypted and cannot be searched with {lookup_name!r}.")
        return super().get_lookup(lookup_name)

    def value_to_string(self, obj):
        raise TypeError(f"{self} is encrypted and is not exported as text; back up with pg_dump instead.")


class EncryptedTextField(EncryptedField, models.TextField):
    """A text that stands encrypted in the database. To look for one, store its fingerprint beside it."""

    description = "Encrypted text"

    def get_internal_type(self):
        return "BinaryField"

    def open(self, ciphertext: bytes, place: bytes) -> str:
        return decrypt(ciphertext, place)

    def seal(self, value: Any, place: bytes) -> bytes:
        return encrypt(str(value), place)


class EncryptedBinaryField(EncryptedField, models.BinaryField):
    """Bytes that stand encrypted in the database, for as long as somebody works on them."""

    description = "Encrypted bytes"

    def open(self, ciphertext: bytes, place: bytes) -> bytes:
        return decrypt_bytes(ciphertext, place)

    def seal(self, value: Any, place: bytes) -> bytes:
        return encrypt_bytes(value, place)


def _part(value: Any) -> bytes:
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else str(value).encode()
