import hashlib
import secrets
from functools import cache

from vault.models import FingerprintKey

LENGTH = 16  # bytes; two of 2**32 texts share a fingerprint with a probability of 3e-20


def fingerprint(text: str) -> bytes:
    """Return 16 bytes that are equal for equal texts and, without the installation's key, tell nothing of the text.

    Keyed BLAKE2b (RFC 7693). Raises DecryptionError when VAULT_KEYS cannot open the installation's key.
    """
    return fingerprints([text])[0]


def fingerprints(texts: list[str]) -> list[bytes]:
    """The fingerprint of each text, in their order."""
    keyed = hashlib.blake2b(digest_size=LENGTH, key=load_key())
    found = []
    for text in texts:
        digest = keyed.copy()
        digest.update(text.encode())
        found.append(digest.digest())
    return found


@cache
def load_key() -> bytes:
    return bytes.fromhex(FingerprintKey.objects.get().key)


def ensure_key(**kwargs) -> None:
    """Make the key at the first `migrate`, outside any transaction that could take it back once it is in use."""
    load_key.cache_clear()
    FingerprintKey.objects.get_or_create(defaults={"key": secrets.token_hex(32)})
