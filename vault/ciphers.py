"""Activation codes at rest: AES-256-GCM under the keys of the VAULT_KEYS setting.

A ciphertext consists of key id (4 bytes), nonce (12 bytes), encrypted text and tag (NIST SP 800-38D). Its associated
data is its `place`, so it can't be decrypted anywhere else (docs/decisions/0015). The id is derived from the key, so
the order of VAULT_KEYS only decides which key encrypts: the first. Each key has a second id for ciphertexts from
versions without places, which we still read but never write.
"""

import base64
import binascii
import hashlib
import os
from functools import lru_cache
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

KEY_ID_LENGTH = 4
NONCE_LENGTH = 12


class DecryptionError(Exception):
    """A stored text can't be decrypted. The message gives the reason and never quotes the text."""


class UnknownKey(DecryptionError):
    def __init__(self, key_id: bytes) -> None:
        given = ", ".join(found.hex() for found in key_ids())
        super().__init__(f"VAULT_KEYS doesn't contain the key {key_id.hex()}, but {given}.")


def encrypt(text: str, place: bytes) -> bytes:
    """Encrypt a text with the first of VAULT_KEYS."""
    return encrypt_bytes(text.encode(), place)


def encrypt_all(texts: list[str], places: list[bytes]) -> list[bytes]:
    """Encrypt many texts, in order. Takes half the time of calling `encrypt` for each."""
    key_id, cipher = _first()
    random = os.urandom(NONCE_LENGTH * len(texts))
    nonces = [random[start : start + NONCE_LENGTH] for start in range(0, len(random), NONCE_LENGTH)]
    encrypted = map(cipher.encrypt, nonces, map(str.encode, texts), places)
    return [key_id + nonce + content for nonce, content in zip(nonces, encrypted, strict=True)]


def decrypt(ciphertext: bytes, place: bytes) -> str:
    """Raises DecryptionError."""
    try:
        return decrypt_bytes(ciphertext, place).decode()
    except UnicodeDecodeError as error:
        raise DecryptionError("The stored text is damaged.") from error


def encrypt_bytes(content: bytes, place: bytes) -> bytes:
    key_id, cipher = _first()
    nonce = os.urandom(NONCE_LENGTH)
    return key_id + nonce + cipher.encrypt(nonce, content, place)


def decrypt_bytes(ciphertext: bytes, place: bytes) -> bytes:
    ciphers = _parse_keys(tuple(settings.VAULT_KEYS))
    key_id = ciphertext[:KEY_ID_LENGTH]
    cipher = ciphers.bound.get(key_id) or ciphers.unbound.get(key_id)
    if cipher is None:
        raise UnknownKey(key_id)

    nonce = ciphertext[KEY_ID_LENGTH : KEY_ID_LENGTH + NONCE_LENGTH]
    associated = place if key_id in ciphers.bound else None
    try:
        return cipher.decrypt(nonce, ciphertext[KEY_ID_LENGTH + NONCE_LENGTH :], associated)
    except (InvalidTag, ValueError) as error:
        raise DecryptionError("The stored text is damaged or comes from another row.") from error


def encryption_key_id() -> bytes:
    """The id that currently prefixes everything `encrypt` returns."""
    return _first()[0]


def key_ids() -> list[bytes]:
    """The ids of VAULT_KEYS, in order."""
    return list(_parse_keys(tuple(settings.VAULT_KEYS)).bound)


def all_key_ids() -> set[bytes]:
    """The ids of VAULT_KEYS, including those in ciphertexts from versions without places."""
    ciphers = _parse_keys(tuple(settings.VAULT_KEYS))
    return {*ciphers.bound, *ciphers.unbound}


def check_key_of(ciphertext: bytes) -> None:
    """Raises UnknownKey if none of VAULT_KEYS encrypted this."""
    key_id = ciphertext[:KEY_ID_LENGTH]
    if key_id not in all_key_ids():
        raise UnknownKey(key_id)


class Ciphers(NamedTuple):
    bound: dict[bytes, AESGCM]
    unbound: dict[bytes, AESGCM]  # without a place, as written by earlier versions


def _first() -> tuple[bytes, AESGCM]:
    return next(iter(_parse_keys(tuple(settings.VAULT_KEYS)).bound.items()))


@lru_cache
def _parse_keys(encoded_keys: tuple[str, ...]) -> Ciphers:
    if not encoded_keys:
        raise ImproperlyConfigured(
            "VAULT_KEYS is empty. Set it to at least one base64-encoded key of 32 random bytes."
        )

    ciphers = Ciphers({}, {})
    for number, encoded in enumerate(encoded_keys, start=1):
        try:
            key = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != 32:
            raise ImproperlyConfigured(f"Key {number} of VAULT_KEYS isn't 32 base64-encoded bytes.")
        ciphers.bound[_key_id(b"keywell bound vault key ", key)] = AESGCM(key)
        ciphers.unbound[_key_id(b"keywell vault key ", key)] = AESGCM(key)
    return ciphers


def _key_id(kind: bytes, key: bytes) -> bytes:
    return hashlib.sha256(kind + key).digest()[:KEY_ID_LENGTH]
