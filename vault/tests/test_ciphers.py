import base64

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from vault.ciphers import DecryptionError, decrypt, encrypt

OLD, NEW = (base64.b64encode(bytes([byte]) * 32).decode() for byte in (1, 2))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_it_gives_back_what_it_was_given(text):
    assert decrypt(encrypt(text)) == text


def test_it_encrypts_the_same_text_differently_each_time():
    assert encrypt("AAAA-BBBB") != encrypt("AAAA-BBBB")


def test_it_encrypts_with_the_first_key_and_decrypts_with_all(settings):
    settings.VAULT_KEYS = [OLD]
    ciphertext = encrypt("AAAA-BBBB")

    settings.VAULT_KEYS = [NEW, OLD]

    assert decrypt(ciphertext) == "AAAA-BBBB"
    assert encrypt("AAAA-BBBB")[:4] != ciphertext[:4]


def test_a_missing_key_is_an_error_that_shows_nothing(settings):
    settings.VAULT_KEYS = [OLD]
    ciphertext = encrypt("AAAA-BBBB")

    settings.VAULT_KEYS = [NEW]

    with pytest.raises(DecryptionError, match="VAULT_KEYS does not hold the key"):
        decrypt(ciphertext)


@pytest.mark.parametrize("position", [4, 16, -1])
def test_a_damaged_text_is_an_error(position):
    ciphertext = bytearray(encrypt("AAAA-BBBB"))
    ciphertext[position] ^= 1

    with pytest.raises(DecryptionError, match="damaged"):
        decrypt(bytes(ciphertext))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([], "VAULT_KEYS is empty"),
        ([OLD, "c2hvcnQ="], "Key 2 of VAULT_KEYS"),
        (["not base64 at all"], "Key 1 of VAULT_KEYS"),
    ],
)
def test_an_unusable_setting_is_named(settings, keys, message):
    settings.VAULT_KEYS = keys

    with pytest.raises(ImproperlyConfigured, match=message):
        encrypt("AAAA-BBBB")
