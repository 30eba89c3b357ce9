"""Encrypted columns, each value bound to its row (docs/decisions/0015)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.core.exceptions import FieldError
from django.db import models
from django.db.models.query_utils import DeferredAttribute

from vault.ciphers import decrypt, decrypt_bytes, encrypt, encrypt_bytes


@dataclass(frozen=True)
class Sealed:
    """A stored ciphertext. Only the row it belongs to can decrypt it."""

    ciphertext: bytes = field(repr=False)


class Opened(DeferredAttribute):
    """Decrypts when the attribute is first read, because only then are the row's other values known.

    Raises DecryptionError if VAULT_KEYS lacks the key or the ciphertext belongs to another row.
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
    """`bound_to` names the attributes that identify the owner of a value.

    Set them before saving the value. Changing one of them requires saving the value again.
    """

    descriptor_class = Opened

    def __init__(self, *args: Any, bound_to: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Not part of migrations, because the database doesn't depend on it.
        self.bound_to = bound_to

    def open(self, ciphertext: bytes, place: bytes) -> Any:
        raise NotImplementedError

    def seal(self, value: Any, place: bytes) -> bytes:
        raise NotImplementedError

    def place(self, owner: Iterable[Any]) -> bytes:
        """Table, column and owner. Unambiguous, because an owner is numbers, followed by at most one digest."""
        return b"\0".join([self._name, *map(_part, owner)])

    @cached_property
    def _name(self) -> bytes:
        return f"{self.model._meta.db_table}.{self.column}".encode()

    def pre_save(self, model_instance: Any, add: bool) -> Any:
        value = model_instance.__dict__[self.attname]
        if value is None or isinstance(value, Sealed):
            return value
        return Sealed(self.seal(value, self.place(getattr(model_instance, name) for name in self.bound_to)))

    def get_prep_value(self, value: Any) -> Any:
        if value is None or isinstance(value, Sealed):
            return value
        raise TypeError(f"{self} is encrypted for its row. Set it on an instance and save the instance.")

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> bytes | None:
        value = value if prepared else self.get_prep_value(value)
        return None if value is None else value.ciphertext

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Sealed | None:
        return None if value is None else Sealed(bytes(value))

    def get_lookup(self, lookup_name):
        if lookup_name != "isnull":
            raise FieldError(f"{self.name} is encrypted and can't be filtered with {lookup_name!r}.")
        return super().get_lookup(lookup_name)

    def value_to_string(self, obj):
        raise TypeError(f"{self} is encrypted and can't be serialized. Back up with pg_dump instead.")


class EncryptedTextField(EncryptedField, models.TextField):
    """An encrypted text. To make it searchable, store its fingerprint in another column."""

    description = "Encrypted text"

    def get_internal_type(self):
        return "BinaryField"

    def open(self, ciphertext: bytes, place: bytes) -> str:
        return decrypt(ciphertext, place)

    def seal(self, value: Any, place: bytes) -> bytes:
        return encrypt(str(value), place)


class EncryptedBinaryField(EncryptedField, models.BinaryField):
    description = "Encrypted bytes"

    def open(self, ciphertext: bytes, place: bytes) -> bytes:
        return decrypt_bytes(ciphertext, place)

    def seal(self, value: Any, place: bytes) -> bytes:
        return encrypt_bytes(value, place)


def _part(value: Any) -> bytes:
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else str(value).encode()
