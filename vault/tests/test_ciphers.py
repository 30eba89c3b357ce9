import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from vault.ciphers import DecryptionError, decrypt, encrypt

PLACE = b"table.column\0001"
OLD, NEW = (base64.b64encode(bytes([byte]) * 32).decode() for byte in (1, 2))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_decrypt_returns_the_encrypted_text(text):
    assert decrypt(encrypt(text, PLACE), PLACE) == text


def test_it_encrypts_the_same_text_differently_each_time():
    assert encrypt("AAAA-BBBB", PLACE) != encrypt("AAAA-BBBB", PLACE)


def test_it_encrypts_with_the_first_key_and_decrypts_with_all(settings):
    settings.VAULT_KEYS = [OLD]
    ciphertext = encrypt("AAAA-BBBB", PLACE)

    settings.VAULT_KEYS = [NEW, OLD]

    assert decrypt(ciphertext, PLACE) == "AAAA-BBBB"
    assert encrypt("AAAA-BBBB", PLACE)[:4] != ciphertext[:4]


def test_a_missing_key_is_an_error(settings):
    settings.VAULT_KEYS = [OLD]
    ciphertext = encrypt("AAAA-BBBB", PLACE)

    settings.VAULT_KEYS = [NEW]

    with pytest.raises(DecryptionError, match="VAULT_KEYS doesn't contain the key"):
        decrypt(ciphertext, PLACE)


@pytest.mark.parametrize("position", [4, 16, -1])
def test_a_damaged_ciphertext_is_an_error(position):
    ciphertext = bytearray(encrypt("AAAA-BBBB", PLACE))
    ciphertext[position] ^= 1

    with pytest.raises(DecryptionError, match="damaged"):
        decrypt(bytes(ciphertext), PLACE)


def test_a_ciphertext_moved_to_another_row_is_an_error():
    with pytest.raises(DecryptionError, match="comes from another row"):
        decrypt(encrypt("AAAA-BBBB", PLACE), b"table.column\0002")


def encrypt_unbound(key, text):
    """Encrypt as earlier versions did: without a place."""
    raw = base64.b64decode(key)
    nonce = b"n" * 12
    return hashlib.sha256(b"keywell vault key " + raw).digest()[:4] + nonce + AESGCM(raw).encrypt(nonce, text, None)


def test_it_decrypts_the_ciphertext_of_an_earlier_version(settings):
    settings.VAULT_KEYS = [NEW, OLD]

    assert decrypt(encrypt_unbound(OLD, b"AAAA-BBBB"), PLACE) == "AAAA-BBBB"


def test_a_bound_ciphertext_cannot_pass_as_an_older_unbound_one(settings):
    settings.VAULT_KEYS = [OLD]
    old_id = encrypt_unbound(OLD, b"")[:4]

    with pytest.raises(DecryptionError):
        decrypt(old_id + encrypt("AAAA-BBBB", PLACE)[4:], b"elsewhere")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([], "VAULT_KEYS is empty"),
        ([OLD, "c2hvcnQ="], "Key 2 of VAULT_KEYS"),
        (["not base64 at all"], "Key 1 of VAULT_KEYS"),
    ],
)
def test_it_reports_an_unusable_setting(settings, keys, message):
    settings.VAULT_KEYS = keys

    with pytest.raises(ImproperlyConfigured, match=message):
        encrypt("AAAA-BBBB", PLACE)
