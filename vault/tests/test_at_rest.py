import base64

import pytest
from django.core.exceptions import FieldError
from django.core.management import call_command
from django.db import connection

from fulfillment.setup import submit
from orders.models import ActivationCode
from pools.models import LicenseKey
from pools.uploads import begin
from vault.ciphers import DecryptionError, encryption_key_id
from vault.fingerprints import fingerprint, load_key

NEW = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def code(pay, product):
    pay(product)
    return ActivationCode.objects.get()


def read_ciphertexts(model):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT code FROM {model._meta.db_table}")
        return [bytes(row[0]) for row in cursor.fetchall()]


def test_no_row_contains_a_readable_code(code):
    assert code.code.startswith("POOL")

    for ciphertext in read_ciphertexts(ActivationCode) + read_ciphertexts(LicenseKey):
        assert b"POOL" not in ciphertext


def test_a_code_cannot_be_searched_by_its_text(code):
    with pytest.raises(FieldError, match="encrypted"):
        ActivationCode.objects.filter(code=code.code).exists()


def test_dumpdata_refuses_to_export_codes(code):
    with pytest.raises(Exception, match="pg_dump"):
        call_command("dumpdata", "orders")


def test_reading_with_a_wrong_key_raises_an_error(code, settings):
    settings.VAULT_KEYS = [NEW]

    with pytest.raises(DecryptionError):
        _ = ActivationCode.objects.get().code


def test_fingerprints_of_equal_texts_are_equal_and_keyed(db, monkeypatch):
    before = fingerprint("AAAA-BBBB")

    assert before == fingerprint("AAAA-BBBB") != fingerprint("AAAA-BBBC")
    monkeypatch.setattr("vault.fingerprints.load_key", lambda: b"another installation's key")
    assert before != fingerprint("AAAA-BBBB")


def test_rotation_re_encrypts_every_row_and_keeps_fingerprints(code, settings, capsys):
    old_fingerprint = fingerprint(code.code)
    settings.VAULT_KEYS = [NEW, *settings.VAULT_KEYS]

    call_command("rotate_keys", batch_size=3)
    load_key.cache_clear()
    settings.VAULT_KEYS = [NEW]

    assert "pools.LicenseKey.code: 10 values re-encrypted" in capsys.readouterr().out
    assert {ciphertext[:4] for ciphertext in read_ciphertexts(ActivationCode) + read_ciphertexts(LicenseKey)} == {
        encryption_key_id()
    }
    assert ActivationCode.objects.get().code == code.code
    assert fingerprint(code.code) == old_fingerprint


def test_rotation_keeps_uploads_that_are_not_imported_yet(make_pool, make_member, merchant, settings):
    upload = begin(make_pool(0), [b"AAAA\nBBBB"], actor="Sam")
    request = submit(merchant, [b"CCCC\nDDDD"], actor=make_member().user, pool_name="Photo", products=[])
    settings.VAULT_KEYS = [NEW, *settings.VAULT_KEYS]

    call_command("rotate_keys")
    load_key.cache_clear()
    settings.VAULT_KEYS = [NEW]

    assert b"".join(upload.parts.read()) == b"AAAA\nBBBB"
    assert b"".join(request.parts.read()) == b"CCCC\nDDDD"


def test_an_interrupted_rotation_continues_where_it_stopped(code, settings, capsys):
    from vault.management.commands.rotate_keys import rotate

    settings.VAULT_KEYS = [NEW, *settings.VAULT_KEYS]
    batches = rotate(LicenseKey._meta.get_field("code"), batch_size=4)
    assert next(batches) == 4

    call_command("rotate_keys")

    assert "pools.LicenseKey.code: 6 values re-encrypted" in capsys.readouterr().out
