import hashlib
import secrets
from functools import cache

from vault.models import FingerprintKey

LENGTH = 16  # bytes; two of 2**32 texts share a fingerprint with a probability of 3e-20


def fingerprint(text: str) -> bytes:
    """Return 16 bytes that are the same for equal texts and reveal nothing to anyone without the installation's key.

    Keyed BLAKE2b (RFC 7693). Raises DecryptionError if VAULT_KEYS can't decrypt the installation's key.
    """
    return fingerprints([text])[0]


def fingerprints(texts: list[str]) -> list[bytes]:
    copy = hashlib.blake2b(digest_size=LENGTH, key=load_key()).copy
    digests = []
    for text in texts:
        digest = copy()
        digest.update(text.encode())
        digests.append(digest.digest())
    return digests


@cache
def load_key() -> bytes:
    return bytes.fromhex(FingerprintKey.objects.get().key)


def ensure_key(**kwargs) -> None:
    """Create the key at the first `migrate`, outside any transaction that could roll it back once it is in use."""
    load_key.cache_clear()
    FingerprintKey.objects.get_or_create(defaults={"key": secrets.token_hex(32)})
