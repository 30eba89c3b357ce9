"""A ciphertext can be decrypted only in the row and column it was written for."""

import base64
import hashlib
import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.apps import apps
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connection

from orders.models import ActivationCode, Order
from pools.imports import import_keys
from pools.models import KeyImport, KeyImportPart, LicenseKey
from pools.tests.factories import stock
from vault.ciphers import DecryptionError, encryption_key_id
from vault.fields import EncryptedField

FIELDS = [
    field for model in apps.get_models() for field in model._meta.concrete_fields if isinstance(field, EncryptedField)
]


def swap(model, column, first, second):
    """Swap a column of two rows with SQL."""
    table, pk = model._meta.db_table, model._meta.pk.column
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET {column} = other.{column} FROM {table} other"
            f" WHERE ({table}.{pk}, other.{pk}) IN ((%s, %s), (%s, %s))",
            [first, second, second, first],
        )
        assert cursor.rowcount == 2


@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_every_field_is_bound_to_an_owner(field):
    assert field.bound_to or field.model._meta.label == "vault.FingerprintKey"  # this table has a single row


def test_no_two_fields_share_a_place():
    assert len({field.place(["1"]) for field in FIELDS}) == len(FIELDS)


def test_keys_of_one_pool_cannot_be_swapped(make_pool):
    first, second = make_pool(2).keys.order_by("pk")
    swap(LicenseKey, "code", first.pk, second.pk)

    with pytest.raises(DecryptionError, match="another row"):
        _ = LicenseKey.objects.get(pk=first.pk).code


def test_keys_of_two_pools_cannot_be_swapped_even_with_their_fingerprints(make_pool):
    first, second = make_pool(1).keys.get(), make_pool(1).keys.get()
    for column in ("code", "fingerprint"):
        swap(LicenseKey, column, first.pk, second.pk)

    with pytest.raises(DecryptionError, match="another row"):
        _ = LicenseKey.objects.get(pk=first.pk).code


def test_codes_of_one_item_cannot_be_swapped_even_with_their_fingerprints(pay, make_product):
    pay(make_product(), quantity=2)
    first, second = ActivationCode.objects.order_by("unit")
    for column in ("code", "fingerprint"):
        swap(ActivationCode, column, first.pk, second.pk)

    with pytest.raises(DecryptionError, match="another row"):
        _ = ActivationCode.objects.get(pk=first.pk).code


def test_a_swapped_key_is_not_sold(pay, make_product, merchant, mailoutbox, work):
    product = make_product(keys=2)
    first, second = LicenseKey.objects.order_by("pk")
    swap(LicenseKey, "code", first.pk, second.pk)

    pay(product)
    work()

    assert not ActivationCode.objects.exists() and not LicenseKey.objects.issued().exists() and not mailoutbox


def test_a_link_cannot_be_moved_to_another_order(pay, make_product):
    for product in (make_product(), make_product()):
        pay(product)
    first, second = Order.objects.order_by("pk")
    swap(Order, "link_token", first.pk, second.pk)

    with pytest.raises(DecryptionError, match="another row"):
        _ = Order.objects.get(pk=first.pk).link_token


def test_secrets_cannot_be_moved_to_another_column_or_merchant(merchant, outsider):
    fields = {"url": "https://93.184.216.34/", "name": "Gen"}
    own = merchant.web_services.create(**fields, secret="whsec_a", previous_secret="whsec_b", password="p")
    other = outsider.web_services.create(**fields, secret="whsec_c", password="q")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE web_service_webservice SET previous_secret = secret WHERE upstream_ptr_id = %s", [own.pk]
        )
    swap(type(own), "password", own.pk, other.pk)
    own = type(own).objects.get(pk=own.pk)

    assert own.secret == "whsec_a"
    for name in ("previous_secret", "password"):
        with pytest.raises(DecryptionError, match="another row"):
            getattr(own, name)


def test_parts_of_an_upload_cannot_be_swapped(make_pool):
    key_import = KeyImport.objects.create(pool=make_pool(), size=2, uploaded_by="test")
    first, second = (
        KeyImportPart.objects.create(key_import=key_import, number=number, content=b"A") for number in (0, 1)
    )
    swap(KeyImportPart, "content", first.pk, second.pk)

    with pytest.raises(DecryptionError, match="another row"):
        list(key_import.parts.read())


@pytest.mark.django_db(transaction=True)
def test_the_audit_finds_moved_ciphertexts(make_pool, capsys):
    first, second = make_pool(2).keys.order_by("pk")
    swap(LicenseKey, "code", first.pk, second.pk)

    with pytest.raises(SystemExit):
        call_command("audit", texts=True)

    assert capsys.readouterr().out.count("comes from another row") == 2


def test_an_imported_key_and_a_saved_one_have_the_same_place(make_pool):
    pool = make_pool()
    import_keys(pool, ["AAAA-BBBB"], actor="test")
    key = pool.keys.get()
    assert key.code == "AAAA-BBBB"

    key.save()

    assert pool.keys.get().code == "AAAA-BBBB"


def test_a_bulk_update_cannot_set_an_encrypted_field(pay, product):
    pay(product)

    with pytest.raises(TypeError, match="Set it on an instance"):
        ActivationCode.objects.update(code="AAAA-BBBB")


def test_saving_an_unread_row_keeps_its_code(pay, product):
    pay(product)
    before = ActivationCode.objects.get()

    ActivationCode.objects.get().save()

    assert ActivationCode.objects.get().code == before.code


def test_the_repr_of_a_ciphertext_reveals_nothing(pay, product):
    pay(product)
    [ciphertext] = ActivationCode.objects.values_list("code", flat=True)

    assert repr(ciphertext) == "Sealed()"


def unbind(model):
    """Rewrite a table's codes as earlier versions did, with the first of VAULT_KEYS."""
    key = base64.b64decode(django_settings.VAULT_KEYS[0])
    key_id = hashlib.sha256(b"keywell vault key " + key).digest()[:4]
    for row in model.objects.all():
        nonce = os.urandom(12)
        old = key_id + nonce + AESGCM(key).encrypt(nonce, row.code.encode(), None)
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {model._meta.db_table} SET code = %s WHERE id = %s", [old, row.pk])


def test_rotation_binds_the_ciphertexts_of_earlier_versions(pay, product, capsys):
    pay(product)
    texts = {key.pk: key.code for key in LicenseKey.objects.all()}
    unbind(LicenseKey)
    unbind(ActivationCode)
    assert {key.pk: key.code for key in LicenseKey.objects.all()} == texts

    call_command("rotate_keys")

    assert "pools.LicenseKey.code: 10 values re-encrypted" in capsys.readouterr().out
    assert {key.pk: key.code for key in LicenseKey.objects.all()} == texts
    with connection.cursor() as cursor:
        cursor.execute("SELECT substring(code FROM 1 FOR 4) FROM pools_licensekey")
        assert {bytes(key_id) for (key_id,) in cursor} == {encryption_key_id()}
    stock(product.fulfillment_methods.get().kind.place, 1)
    call_command("rotate_keys")
    assert "pools.LicenseKey.code: 0 values re-encrypted" in capsys.readouterr().out
